"""The vocabulary of the built-in suite, as data: word lists, tables of phrases, and the domains that share a skill.

A verb written `caught/catch` has its past and base form; a word written `grows/grow` in its singular and plural.
A hyphen in such a form is a space: `threw-away/throw-away`.
"""

from __future__ import annotations

from typing import NamedTuple

Table = tuple[tuple[str, ...], ...]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _phrases(text: str) -> tuple[str, ...]:
    """The phrases between bars or line breaks."""
    return tuple(phrase.strip() for phrase in text.strip().replace("\n", "|").split("|"))


def _table(text: str) -> Table:
    return tuple(_phrases(line) for line in text.strip().splitlines())


NAMES = _words(
    "Anna Peter Maria Tom Elena David Sofia Lukas Nina Omar Julia Felix Clara Hugo Leila Martin Rosa Simon Paula Ivan "
    "Greta Daniel Vera Samuel Ines Jonas Olga Adam Ruth Karim"
)
TIMES = _phrases("""
    on Monday
    last Tuesday
    on Thursday evening
    at the weekend
    last spring
    in early July
    during the holidays
    a few days ago
    the other week
    this morning
    after the storm
    on the first day
    two months ago
    yesterday
    in the autumn
    before the festival
""")

# --- opinions: films, restaurants, phones, hotels, orders -------------------------------------------------------------

# Each value is the strength of the praise; negation turns it into a mild opinion of the other sign.
ADJECTIVES: dict[int, tuple[str, ...]] = {
    2: _words("wonderful superb excellent brilliant fantastic outstanding perfect terrific marvellous magnificent"),
    1: _words("good nice decent solid fine pleasing satisfying impressive agreeable likeable"),
    -1: _words("bad weak poor disappointing mediocre annoying frustrating unimpressive underwhelming second-rate"),
    -2: _words("terrible awful dreadful horrible appalling abysmal atrocious disgraceful hopeless miserable"),
}
VERDICTS: dict[int, tuple[str, ...]] = {
    1: _phrases("liked/like | enjoyed/enjoy | loved/love | admired/admire | recommended/recommend | adored/adore"),
    -1: _phrases(
        "disliked/dislike | hated/hate | regretted/regret | loathed/loathe | resented/resent | despised/despise"
    ),
}
PLAIN = _phrases("""
    the {noun} was {adjective}
    the {noun} was really {adjective}
    the {noun} was simply {adjective}
    I found the {noun} {adjective}
    the {noun} seemed {adjective} to us
    everyone called the {noun} {adjective}
""")
NEGATED = _phrases("""
    the {noun} was not {adjective}
    the {noun} was far from {adjective}
    the {noun} was anything but {adjective}
    the {noun} was by no means {adjective}
    I never found the {noun} {adjective}
    nobody called the {noun} {adjective}
""")
CONTRASTS = _phrases("""
    {minor}, but {major}
    although {minor}, {major}
    {major}, even though {minor}
    {minor}; still, {major}
    {major}, despite the fact that {minor}
    yes, {minor}, and yet {major}
""")


class Venue(NamedTuple):
    """What opinions are about: names of the whole, names of its parts, and remarks without an opinion."""

    whole: tuple[str, ...]
    parts: tuple[str, ...]
    remarks: tuple[str, ...]


FILMS = Venue(
    _words("film movie sequel thriller comedy documentary drama western"),
    _phrases(
        "acting | plot | dialogue | soundtrack | camera work | script | cast | editing | lead actress | opening scene"
    ),
    _phrases(
        "We saw it on a Friday. | It runs for two hours. | My brother chose the seats. | It is set in the desert."
    ),
)
RESTAURANTS = Venue(
    _words("restaurant bistro diner pizzeria tavern steakhouse brasserie trattoria"),
    _phrases("soup | dessert | menu | wine | bread | sauce | salad | waiter | dining room | main course"),
    _phrases("We had a table for four. | It lies near the station. | We came for lunch. | My aunt ordered first."),
)
PHONES = Venue(
    _words("phone handset smartphone device gadget mobile model cellphone"),
    _phrases("battery | screen | speaker | charger | keyboard | signal | touchscreen | software | microphone | camera"),
    _phrases("I bought it online. | It comes in black. | I carry it to work. | It replaced my old one."),
)
HOTELS = Venue(
    _words("hotel resort guesthouse inn lodge motel"),
    _phrases("bedroom | pool | view | breakfast | lobby | shower | mattress | reception | balcony | gym"),
    _phrases("We stayed three nights. | It has six floors. | We came by coach. | It faces the harbour."),
)
ORDERS: dict[str, tuple[str, ...]] = {
    "delivery": _phrases("delivery | courier | shipping | parcel tracking | driver | transport"),
    "price": _phrases("price | cost | discount | bill | value for money | special offer"),
    "quality": _phrases("fabric | stitching | material | workmanship | finish | lining"),
    "service": _phrases("helpline | support team | sales assistant | call centre | help desk | shop owner"),
}

# --- pairs: one deed, the same in other words | the opposite deed, the same in other words ---------------------------

DEEDS = _table("""
    bought/buy | purchased/purchase | sold/sell | traded-away/trade-away
    found/find | discovered/discover | lost/lose | mislaid/mislay
    broke/break | damaged/damage | repaired/repair | fixed/fix
    kept/keep | held-on-to/hold-on-to | discarded/discard | threw-away/throw-away
    hid/hide | concealed/conceal | showed/show | displayed/display
    praised/praise | complimented/compliment | criticised/criticise | complained-about/complain-about
    accepted/accept | said-yes-to/say-yes-to | refused/refuse | rejected/reject
    remembered/remember | thought-of/think-of | forgot/forget | left-behind/leave-behind
    cleaned/clean | washed/wash | soiled/soil | dirtied/dirty
    loved/love | adored/adore | hated/hate | detested/detest
""")

# Each row names one thing twice.
TRAVEL = _table("""
    suitcase | travel bag
    map | chart
    rucksack | backpack
    boat | small ship
    tent | camping shelter
    car | vehicle
    camera | photo equipment
    bicycle | bike
    walking stick | hiking pole
    sunglasses | dark glasses
    passport case | document wallet
    coat | warm jacket
""")
KITCHEN = _table("""
    kettle | water boiler
    pan | skillet
    mug | cup
    stove | cooker
    jar | glass container
    tray | serving board
    fridge | refrigerator
    bowl | round dish
    knife | blade
    apron | kitchen smock
    tablecloth | table cover
    mixer | blender
""")
OFFICE = _table("""
    printer | copying machine
    desk | writing table
    laptop | portable computer
    folder | binder
    calendar | planner
    contract | written agreement
    invoice | bill
    parcel | package
    memo | short note
    safe | strongbox
    stapler | paper fastener
    lamp | light
""")
ROLES = _words("manager clerk director accountant secretary lawyer designer engineer consultant auditor")
CLEFTS = _phrases("""
    {who} {deed} {thing}
    it was {who} who {deed} {thing}
    what {who} {deed} was {thing}
""")

# Each cell of a row says the same thing; other rows say something else.
SELLERS = _table("""
    the baker | the man who bakes bread
    the fisherman | the man who catches fish
    the florist | the woman who grows flowers
    the tailor | the man who sews clothes
    the potter | the woman who shapes clay
    the butcher | the man who cuts meat
    the bookseller | the woman who trades in books
    the jeweller | the woman who makes rings
""")
ACTIONS = _table("""
    sold | found a buyer for
    bought | purchased
    repaired | mended
    hid | concealed
    dropped | let go of
    painted | coloured
    borrowed | got on loan
    cleaned | washed
""")
GOODS = _table("""
    a bicycle | a bike
    a basket | a woven carrier
    a clock | a timepiece
    a lamp | a light
    a couch | a sofa
    a coat | a warm jacket
    a boat | a small ship
    a painting | a picture in a frame
""")
MOMENTS = _table("""
    at dawn | as the sun rose
    at noon | in the middle of the day
    at midnight | at twelve in the night
    in winter | in the cold season
    in summer | in the hot months
    on Sunday | on the last day of the week
    at dusk | as the sun went down
    in April | in the fourth month
""")

# --- acceptability: who, where, what they do -------------------------------------------------------------------------


class Scene(NamedTuple):
    """Nouns (singular/plural), adjectives, places and predicates (singular/plural) of one setting."""

    nouns: tuple[str, ...]
    adjectives: tuple[str, ...]
    places: tuple[str, ...]
    predicates: tuple[str, ...]


GARDEN = Scene(
    _words("rose/roses tree/trees bird/birds bee/bees frog/frogs shrub/shrubs hedge/hedges lily/lilies snail/snails"),
    _words("tall old young green small wild pale healthy"),
    _words("near behind beside under above"),
    _phrases("""
        is/are quiet today
        was/were hidden by leaves
        has/have grown since March
        looks/look strange in the rain
        moves/move in the wind
        needs/need water and light
    """),
)
SCHOOL = Scene(
    _words(
        "teacher/teachers pupil/pupils coach/coaches student/students tutor/tutors librarian/librarians singer/singers"
    ),
    _words("clever new tired friendly famous polite nervous cheerful"),
    _phrases("beside | opposite | behind | facing | next to"),
    _phrases("""
        is/are ready for class
        was/were late again
        has/have passed the test
        speaks/speak French at lunch
        reads/read a story aloud
        wants/want a longer break
    """),
)

# --- questions: what kind of answer is asked for ---------------------------------------------------------------------

WORKS = _phrases("""
    the stone bridge | the old lighthouse | the royal library | the opera house | the city museum
    the railway tunnel | the science academy | the harbour wall | the botanical garden
    the mountain hut | the clock tower
""")
FOUNDERS = _words("architect queen merchant engineer bishop mayor banker scientist")
MADE = _phrases("built | designed | founded | restored | paid for | opened")
QUESTIONS: dict[str, tuple[str, ...]] = {
    "person": _phrases("""
        Who {made} {work}?
        What was the name of the {founder} that {made} {work}?
        {work} was {made} by which {founder}?
        Which {founder} is remembered because {work} was {made}?
        Tell me whose idea it was when {work} was {made}.
    """),
    "place": _phrases("""
        Where does {work} stand?
        In which town was {work} {made} by the {founder}?
        What country would you visit to see {work}?
        On which river can I find {work}, {made} by a {founder}?
        Tell me what street leads to {work}.
    """),
    "time": _phrases("""
        When was {work} {made}?
        In which century did the {founder} see {work} {made}?
        What year was it when the {founder} {made} {work}?
        On which day is {work} opened to visitors?
        Tell me the date on which {work} was {made} by the {founder}.
    """),
    "number": _phrases("""
        How many visitors came after {work} was {made}?
        What did it cost when the {founder} {made} {work}?
        How tall is {work}, which a {founder} {made}?
        Which percentage of the town worked on {work}?
        Tell me how many workers {made} {work} for the {founder}.
    """),
    "reason": _phrases("""
        Why was {work} {made}?
        What made the {founder} say yes when {work} was {made}?
        For which purpose was {work} {made} by the {founder}?
        How come the {founder} {made} {work}?
        Tell me what it was that led the {founder} to see {work} {made}.
    """),
}

# --- endings: situation | what follows | the other situation | what follows then --------------------------------------

EVENTS = _table("""
    rain began to fall | put up an umbrella | the sun came out | put on sunglasses
    the kettle was empty | filled it with water | the kettle was boiling | poured the tea
    the bus had already left | walked all the way | the bus was waiting | found a seat in it
    the shop was closed | went home without bread | the shop was open | bought some bread
    the baby fell asleep | tiptoed out of the room | the baby started to cry | picked the child up
    the exam went well | celebrated with friends | the exam went badly | signed up to try again
    the room was dark | switched on the lamp | the room was too bright | drew the curtains
    the soup was too hot | waited for it to cool | the soup was cold | warmed it up again
    the dog looked hungry | filled its bowl | the dog had eaten enough | put the food away
    the phone had no power | looked for the charger | the phone was ringing | answered the call
    the bicycle had a flat tyre | pumped up the wheel | the bicycle was in order | rode off to work
    the letter brought good news | smiled while reading | the letter brought sad news | wept over the page
    the river was frozen | went skating | the river was warm | went swimming
    the jacket was too small | exchanged it for a larger one | the jacket fitted well | wore it at once
    the plants were dry | watered them | the plants stood in a flood | drained the pots
    the guests were late | kept dinner in the oven | the guests came early | set the table in a hurry
""")

"""How good is a selector's ranking? Measured transfer matrix, ranking metrics, scores, leaderboard; imports from `selection` down."""

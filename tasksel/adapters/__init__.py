"""Source adapters: trained, stored in a pool, imported. Imports training, model, tasks and what is below them."""

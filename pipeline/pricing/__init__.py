"""What recorded calls cost. A price is found once for each kind of call; `warehouse/sql/costs.sql` multiplies.

    prices_file     the user's own prices.toml
    price_list      the list of prices in genai-prices, by date and size of the prompt
    litellm_map     a copy of LiteLLM's price map, for models in neither
    price_book      which of them holds for a call, and when: the rows of `stored.rates`
    stored_costs    keeps those rows in the warehouse up to date

Money is Decimal from end to end. Nothing here uses a network: the list is the installed one.
"""

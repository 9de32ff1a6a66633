"""What recorded calls cost: prices are found here, for each kind of call once; `sql/costs.sql` multiplies.

    prices_file   the user's own prices.toml
    listed        the price list that genai-prices brings, by date and size of the prompt
    litellm_map   a copy of LiteLLM's map of prices, for what is in neither
    resolve       which of them holds for a call, and when: the rows of `stored.rates`
    stored        keeps those rows in the warehouse up to date

Money is Decimal from end to end. Nothing here asks a network, ever: the list is the one that is installed.
"""

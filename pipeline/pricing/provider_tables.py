"""Tables of what differs from provider to provider in pricing; the rows cite their sources."""

from __future__ import annotations

from decimal import Decimal

# Host, or provider as `providers` names it -> its id in genai-prices. Providers that are not here have no listed
# prices: gateways with bills of their own (cloudflare, portkey, vercel, alphaneural, aiand) and hosts not on the list.
LISTED_PROVIDERS = {
    "open.bigmodel.cn": "zhipuai",
    "anthropic": "anthropic",
    "aws-bedrock": "aws",
    "azure": "azure",
    "cerebras": "cerebras",
    "cohere": "cohere",
    "deepseek": "deepseek",
    "fireworks": "fireworks",
    "google": "google",
    "google-vertex": "google",
    "groq": "groq",
    "minimax": "minimax",
    "mistral": "mistral",
    "moonshot": "moonshotai",
    "novita": "novita",
    "openai": "openai",
    "openrouter": "openrouter",
    "perplexity": "perplexity",
    "together": "together",
    "x-ai": "x-ai",
    "zai": "zai",
}

# Provider in the list -> prefix of models' names in calls to it, which the list does not have.
MODEL_PREFIXES = {"google": ("models/", "google/")}

# Served tiers that are billed at the standard price. `auto` is not one: it is a request, not a served tier.
STANDARD_TIERS = ("", "default", "standard", "on_demand")

# Served tier -> how genai-prices tells its prices apart.
TIER_CONTEXTS = {
    "batch": {"processing": "batch"},
    "fast": {"service_tier": "fast"},
    "flex": {"service_tier": "flex"},
    "priority": {"service_tier": "priority"},
}

# (provider in the list, served tier) -> times the standard price, where the list has no price of that tier for the
# day. OpenAI halves every price for flex (https://platform.openai.com/docs/guides/flex-processing); its priority
# differs from model to model and has no row. Groq's flex costs what on-demand does
# (https://console.groq.com/docs/flex-processing).
TIER_FACTORS = {
    ("openai", "flex"): Decimal("0.5"),
    ("groq", "flex"): Decimal(1),
}

# Provider as `providers` names it -> its name in LiteLLM's map; the others have the same in both.
LITELLM_PROVIDERS = {
    "alibaba": "dashscope",
    "fireworks": "fireworks_ai",
    "google": "gemini",
    "google-vertex": "vertex_ai",
    "together": "together_ai",
    "vercel": "vercel_ai_gateway",
    "x-ai": "xai",
}

# Served tier -> the end of the names of its prices in LiteLLM's map.
LITELLM_TIER_ENDINGS = {"batch": "_batches", "flex": "_flex", "priority": "_priority"}

"""What differs from provider to provider in the pricing of calls, as tables; sources are cited at the rows."""

from __future__ import annotations

from decimal import Decimal

# Host, or provider as `providers` names it -> its id in genai-prices. Who is not here has no listed prices: gateways
# whose bill is their own (cloudflare, portkey, vercel, alphaneural, aiand) and hosts that the list does not have.
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

# Provider in the list -> what stands before a model's name in calls to it, and is no part of it there.
MODEL_PREFIXES = {"google": ("models/", "google/")}

# Served tiers that are billed at the standard price. `auto` is none: it says what was asked for, not what was served.
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

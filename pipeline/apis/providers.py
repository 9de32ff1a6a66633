"""Names the provider of a host by a table. A host that is not in the table is its own name; nothing is guessed."""

from __future__ import annotations

# Host -> provider. A name that begins with a dot stands for all hosts that end with it.
PROVIDERS = {
    "api.openai.com": "openai",
    ".openai.azure.com": "azure",
    ".cognitiveservices.azure.com": "azure",
    ".services.ai.azure.com": "azure",
    ".models.ai.azure.com": "azure",
    "models.inference.ai.azure.com": "github",
    "models.github.ai": "github",
    "api.anthropic.com": "anthropic",
    "generativelanguage.googleapis.com": "google",
    ".aiplatform.googleapis.com": "google-vertex",
    ".amazonaws.com": "aws-bedrock",
    "api.mistral.ai": "mistral",
    "codestral.mistral.ai": "mistral",
    "api.deepseek.com": "deepseek",
    "api.x.ai": "x-ai",
    "api.groq.com": "groq",
    "api.together.xyz": "together",
    "api.together.ai": "together",
    "api.fireworks.ai": "fireworks",
    "api.cerebras.ai": "cerebras",
    "api.sambanova.ai": "sambanova",
    "api.perplexity.ai": "perplexity",
    "api.cohere.com": "cohere",
    "api.cohere.ai": "cohere",
    "api.moonshot.ai": "moonshot",
    "api.moonshot.cn": "moonshot",
    "api.z.ai": "zai",
    "open.bigmodel.cn": "zai",
    "dashscope.aliyuncs.com": "alibaba",
    "dashscope-intl.aliyuncs.com": "alibaba",
    "api.minimax.io": "minimax",
    "api.novita.ai": "novita",
    "api.deepinfra.com": "deepinfra",
    "api.studio.nebius.com": "nebius",
    "integrate.api.nvidia.com": "nvidia",
    "router.huggingface.co": "huggingface",
    "openrouter.ai": "openrouter",
    "ai-gateway.vercel.sh": "vercel",
    "gateway.ai.cloudflare.com": "cloudflare",
    "api.portkey.ai": "portkey",
    "proxy.alfnrl.io": "alphaneural",
    "api.aiand.com": "aiand",
    "api.router402.xyz": "router402",
}
DEFAULT_PORTS = {"http": 80, "https": 443}


def provider_of(scheme: str, host: str, port: int) -> str:
    """Return the provider's name; for an unknown host the host, with its port unless that is the scheme's default."""
    host = host.lower().rstrip(".")
    if host in PROVIDERS:
        return PROVIDERS[host]
    for suffix, name in PROVIDERS.items():
        if suffix.startswith(".") and host.endswith(suffix):
            return name
    return host if DEFAULT_PORTS.get(scheme) == port else f"{host}:{port}"

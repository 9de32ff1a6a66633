"""Run by Python at the start of every child command: lets aiohttp see the proxy variables.

aiohttp is the one widespread client that leaves HTTPS_PROXY alone unless asked (`trust_env=True`), so its
traffic would pass the recorder by without a word. Only the default changes: whoever says `trust_env=False`
gets it.

This file runs inside other people's programs: on whatever Python they use (3.8 and later), with nothing else
installed, and no failure of its own may reach them. Their own `sitecustomize`, which it hides, still runs.
Where traffic goes is decided by the variables alone; without them the changed default changes nothing.
"""

import contextlib
import importlib.machinery
import importlib.util
import os
import sys

CLIENT_MODULE = "aiohttp.client"


class AiohttpFinder:
    """Waits on `sys.meta_path` until the program imports aiohttp; importing it here would slow all."""

    def find_spec(self, name, path=None, target=None):
        if name != CLIENT_MODULE:
            return None
        spec = self.spec_without_us(name, path, target)
        with contextlib.suppress(Exception):
            self.patch_when_loaded(spec.loader)
        return spec

    def spec_without_us(self, name, path, target):
        finders = (finder for finder in list(sys.meta_path) if finder is not self)
        specs = (finder.find_spec(name, path, target) for finder in finders if hasattr(finder, "find_spec"))
        return next((spec for spec in specs if spec is not None), None)

    def patch_when_loaded(self, loader):
        """Stay on the path until then: to ask for a spec, as `importlib.util.find_spec` does, is no load."""
        load = loader.exec_module

        def exec_module(module):
            load(module)
            with contextlib.suppress(Exception):
                trust_environment(module)
                sys.meta_path.remove(self)

        loader.exec_module = exec_module


def trust_environment(client):
    """Change the default in place: the class and its signature stay what other code expects of them."""
    defaults = client.ClientSession.__init__.__kwdefaults__
    if "trust_env" in defaults:
        defaults["trust_env"] = True


def watch_for_aiohttp():
    if CLIENT_MODULE in sys.modules:
        trust_environment(sys.modules[CLIENT_MODULE])
    else:
        sys.meta_path.insert(0, AiohttpFinder())


def hidden_spec():
    """The `sitecustomize` that Python would have run without this one, or None.

    Looked for only behind this one: two tools that each skip just themselves would call each other for ever.
    """
    here = os.path.realpath(os.path.split(__file__)[0])
    folders = [os.path.realpath(entry) for entry in sys.path]
    if here not in folders:
        return None
    return importlib.machinery.PathFinder.find_spec("sitecustomize", sys.path[folders.index(here) + 1 :])


def run_hidden(spec):
    """In our place in `sys.modules`; what it raises goes to Python, which reports it and goes on."""
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)


hidden = None
with contextlib.suppress(Exception):
    hidden = hidden_spec()
with contextlib.suppress(Exception):
    watch_for_aiohttp()
if hidden is not None and hidden.loader is not None:
    run_hidden(hidden)

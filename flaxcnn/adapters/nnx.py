"""The adapter of NNX classes to the library's interface, by their functional form.

`flax.nnx.bridge.ToLinen` serves another purpose: its `init` fails without a key for each random stream, it boxes each
variable, and it does not announce layer calls. Here one key is enough, variables are plain nested dictionaries, and no
random state is carried between steps: all streams of a call follow from the call's key. A resumed run therefore draws
the same numbers as an uninterrupted one.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import jax
import jax.numpy as jnp
from flax import nnx, traverse_util

from flaxcnn.adapters.adapted import Adapted, class_of, mode_options, parameters_of, with_endpoints
from flaxcnn.adapters.evaluating import still_layers
from flaxcnn.adapters.intercept import Call, Layer, current_interceptor
from flaxcnn.adapters.norm_momentum import keep_in
from flaxcnn.errors import ConfigError

_PATH = "flaxcnn_path"  # the attribute that holds the path of an observed layer
_OF_NNX = ("set_view", "set_mode", "init_cache")  # public methods of NNX layers that compute nothing


@dataclass(frozen=True)
class NnxModel(Adapted):
    """An NNX class, instantiated for each call and filled with the call's variables.

    The collection "params" holds the `nnx.Param`s. The collection "batch_stats" holds the other variables, mainly
    `nnx.BatchStat`s, which training updates. Random streams and `nnx.Intermediate`s are not variables. Arrays outside
    any `nnx.Variable` are constants.

    Attributes:
        build: the class, or a partial of it.
        arguments: its constructor arguments, besides `rngs`.
    """

    build: Callable[..., nnx.Module]
    arguments: tuple[tuple[str, Any], ...] = ()

    @property
    def definition(self) -> Any:
        """The class."""
        return class_of(self.build)

    @property
    def classes(self) -> Any:
        """The argument `classes`; None if it takes none."""
        given = dict(self.arguments)
        if "classes" in given:
            return given["classes"]
        taken = parameters_of(self.build).get("classes")
        return None if taken is None or taken.default is taken.empty else taken.default

    @property
    def call(self) -> Callable[..., Any]:
        """The `__call__` of the module's class."""
        call: Callable[..., Any] = self.definition.__call__
        return call

    def clone(self, *, classes: int) -> Self:
        """Return the module with another number of outputs."""
        given = {**dict(self.arguments), "classes": classes}
        return type(self)(self.build, tuple(sorted(given.items())))

    def init_with_output(self, key: jax.Array, images: jax.Array) -> tuple[tuple[Any, Mapping[str, Any]], Any]:
        """Return (outputs, endpoints), computed as in evaluation, and the initial variables."""
        module = self._made(key)
        variables = _variables(module)
        return _computed(module, images, False, {}), variables

    def apply(
        self,
        variables: Mapping[str, Any],
        images: jax.Array,
        *,
        train: bool = False,
        mutable: Any = False,
        rngs: Mapping[str, jax.Array] | None = None,
        **options: Any,
    ) -> Any:
        """Return (outputs, endpoints), as `Adapted.apply`."""
        # XLA drops the initial values computed here, because the call replaces all of them.
        unused = jax.random.key(0, impl="threefry2x32")
        module = self._made(unused)
        _fill(module, variables, unused if rngs is None else rngs["dropout"])
        outputs = _computed(module, images, train, options)
        if mutable is False:
            return outputs
        return outputs, {name: tree for name, tree in _variables(module).items() if name in mutable}

    def _made(self, key: jax.Array) -> nnx.Module:
        streams = {"rngs": nnx.Rngs(key)} if "rngs" in parameters_of(self.build) else {}
        return self.build(**dict(self.arguments), **streams)


def _collection(variable: Any) -> str | None:
    """Return the collection of a variable; None if it is not a variable of the model."""
    if isinstance(variable, nnx.Param):
        return "params"
    if not isinstance(variable, nnx.Variable) or isinstance(variable, nnx.RngState | nnx.Intermediate):
        return None
    return "batch_stats"


def _names(path: tuple[Any, ...]) -> tuple[str, ...]:
    return tuple(map(str, path))


def _flat(module: nnx.Module) -> list[tuple[tuple[Any, ...], Any]]:
    """Return a module's variables with their paths, sorted by path."""
    return list(nnx.to_flat_state(nnx.state(module)))


def _value(variable: Any) -> Any:
    (value,) = jax.tree.leaves(variable)
    return value


def _variables(module: nnx.Module) -> dict[str, Any]:
    """Return a module's variables as nested dictionaries, by collection."""
    found: dict[str, dict[tuple[str, ...], Any]] = {}
    for path, variable in _flat(module):
        collection = _collection(variable)
        if collection is None:
            continue
        value = _value(variable)
        if not jnp.issubdtype(value.dtype, jnp.floating):
            raise ConfigError(
                "a variable that cannot be trained or averaged",
                where="/".join(_names(path)),
                expected="floating-point numbers",
                found=f"{type(variable).__name__} of {value.dtype}",
                fix="keep a constant as a NumPy array, and a count as a number",
            )
        found.setdefault(collection, {})[_names(path)] = value
    return {name: traverse_util.unflatten_dict(flat) for name, flat in found.items()}


def _fill(module: nnx.Module, variables: Mapping[str, Any], key: jax.Array) -> None:
    """Set a module's variables, and a separate key for each of its random streams."""
    given = {name: traverse_util.flatten_dict(tree) for name, tree in variables.items()}
    filled, streams = [], 0
    for path, variable in _flat(module):
        collection = _collection(variable)
        if collection is not None:
            value = given[collection][_names(path)]
        elif isinstance(variable, nnx.RngKey):
            shape = _value(variable).shape  # of a stream that was split among layers made at once: one key each
            own, streams = jax.random.fold_in(key, streams), streams + 1
            value = jax.random.split(own, shape) if shape else own
        elif isinstance(variable, nnx.RngState):
            value = jnp.zeros_like(_value(variable))
        else:
            continue
        filled.append((path, jax.tree.map(lambda _, value=value: value, variable)))
    nnx.update(module, nnx.from_flat_state(filled))


def _computed(
    module: nnx.Module, images: jax.Array, train: bool, options: Mapping[str, Any]
) -> tuple[Any, Mapping[str, Any]]:
    if train:
        module.train()
        layers = {_names(path): layer for path, layer in nnx.iter_graph(module) if isinstance(layer, nnx.Module)}
        keep_in(layers)
        for path in still_layers() & layers.keys():
            layers[path].eval()
    else:
        module.eval()
    options = {**mode_options(type(module).__call__, train), **options}
    if current_interceptor() is not None:
        _observe(module)
    return with_endpoints(module(images, **options))


def _observe(module: nnx.Module) -> None:
    """Let the interceptor see the calls of all layers of a module that nothing else uses."""
    layers = [(path, node) for path, node in nnx.iter_graph(module) if isinstance(node, nnx.Module)]
    for path, layer in layers:
        setattr(layer, _PATH, _names(path))
        object.__setattr__(layer, "__class__", _observed(type(layer)))


@functools.cache
def _observed(kind: type[nnx.Module]) -> type[nnx.Module]:
    """Return a subclass of a layer's class that passes calls to the interceptor."""
    public = [
        name
        for name in dir(kind)
        if not name.startswith("_")
        and name not in _OF_NNX
        and not hasattr(nnx.Module, name)
        and inspect.isfunction(inspect.getattr_static(kind, name))
    ]
    methods = {name: _seen(getattr(kind, name), name) for name in (*public, "__call__") if hasattr(kind, name)}
    names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
    metaclass: Any = type(kind)
    observed: type[nnx.Module] = metaclass(kind.__name__, (kind,), {**names, **methods})
    return observed


def _seen(method: Callable[..., Any], name: str) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(self: nnx.Module, *arguments: Any, **options: Any) -> Any:
        interceptor = current_interceptor()
        if interceptor is None:
            return method(self, *arguments, **options)
        context = Call(Layer(getattr(self, _PATH)), name)
        return interceptor(functools.partial(method, self), arguments, options, context)

    return call

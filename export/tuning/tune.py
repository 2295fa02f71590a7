"""`rectexport.tune`: the package, engine and settings that are fastest within bounds."""

from __future__ import annotations

import hashlib
import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rectexport.exporter.base.log import Listener, Log
from rectexport.exporter.base.options import ExportOptions, Int8, LoadOptions
from rectexport.exporter.base.tuning import TuneOptions, package_path
from rectexport.exporter.frontend.inputs import ShapeOptions
from rectexport.exporter.tuning.data import split_data
from rectexport.exporter.tuning.folder import working_folder
from rectexport.runtime.arrays.input_files import ImageScaling
from rectexport.runtime.base.documents import strict
from rectexport.runtime.base.files import replaced_directory, sha256
from rectexport.runtime.base.notebook import as_html, bar
from rectexport.runtime.base.shapes import Shape, format_shape
from rectexport.runtime.errors import RectexportError
from rectexport.runtime.evaluation.evaluate import Evaluation, evaluate
from rectexport.runtime.package.folder import LOCK, TUNING, Package, add_files
from rectexport.runtime.package.manifest import FILE_NAME
from rectexport.runtime.profiling.process import ask
from rectexport.runtime.timing.inputs import smallest_batch
from rectexport.runtime.tuning.candidate import AS_WRITTEN, CHOSEN, PLACEMENTS, TENSORRT, Space, Variant
from rectexport.runtime.tuning.document import tuning_document
from rectexport.runtime.tuning.search import Found, Goal, Search, Tick, nothing
from rectexport.runtime.tuning.state import State

#: The program that builds TensorRT plans.
PLAN = "rectexport.runtime.tuning.plan"
#: Export target of a backend; cuda reads ONNX Runtime's file.
_TARGETS = {"cuda": "onnxruntime"}


@dataclass(frozen=True, repr=False)
class Tuned:
    """The end of a search. package is None where no candidate keeps the bounds; document: tuning.json."""

    package: Package | None
    document: Mapping[str, Any]
    found: Found

    def __repr__(self) -> str:
        tried = f"{len(self.document['candidates'])} candidates"
        return f"<Tuned: {self.document['chosen'] or 'none keeps the bounds'}, of {tried}; {self.document['reason']}>"

    def _repr_html_(self) -> str | None:
        return as_html("tuning", self)


@dataclass
class Tuning:
    """One search for one model, with its folder of work, which stays when it is interrupted.

    model   a model file or a package; None takes the network of options.load
    out     folder of the answer
    words   the command line, for people who want it again
    """

    model: Path | None
    out: Path
    options: TuneOptions
    words: Sequence[str] = ()
    listener: Listener | None = None
    tick: Tick = nothing
    started: Callable[[Search], None] = lambda search: None
    refused: dict[str, str] = field(default_factory=dict)
    _commands: dict[str, list[str]] = field(default_factory=dict)
    _own_shapes: dict[str, Shape] | None = None

    @property
    def work(self) -> Path:
        """Where variants and the state of the search are kept."""
        return self.out.with_name(f"{self.out.name}.tuning")

    def run(self) -> Tuned:
        """Make the variants, search, write the package. Raises as an export and an evaluation do."""
        if not self.options.batches:
            self.options = replace(self.options, batches=(self._smallest_batch(),))
        space, goal = self.options.space(), self.options.wanted()
        with working_folder(self.work, self._task()) as state:
            try:
                return self._searched(state, space, goal)
            except RectexportError:
                if not state.standing.rounds:
                    shutil.rmtree(self.work)  # nothing was timed, and the same would fail again
                raise

    def _searched(self, state: State, space: Space, goal: Goal) -> Tuned:
        variants = self._variants(state, space)
        search = Search(variants, space, goal, state, self.options.seconds, self.options.seed, tick=self.tick)
        search.evaluate = self._evaluator(variants[0])
        self.started(search)
        found = search.run()
        document = tuning_document(search, found, self.refused, self._data_entry(), self.words)
        chosen = None if found.chosen is None else search.variant(found.chosen)
        if chosen is None:
            shutil.rmtree(self.work)
            return Tuned(None, document, found)
        assert found.chosen is not None
        document["variant_command"] = self._command(chosen, found.chosen.backend, state)
        self._write(chosen, document)
        if "calibrate.npz" not in " ".join(document["variant_command"]):
            shutil.rmtree(self.work)
        return Tuned(Package.open(self.out), document, found)

    def _smallest_batch(self) -> int:
        path = None if self.model is None else package_path(self.model)
        return 1 if path is None else smallest_batch(Package.open(path).manifest)

    def _task(self) -> str:
        """What the state of a search belongs to."""
        path = None if self.model is None else package_path(self.model)
        if path is not None:
            content = Package.open(path).identity
        else:
            content = sha256(self.model) if self.model is not None and self.model.is_file() else str(self.model)
        return hashlib.sha256("\n".join([content, *self.options.identity()]).encode()).hexdigest()

    def _variants(self, state: State, space: Space) -> list[Variant]:
        """The packages to search among, the reference in float32 first. Raises where that cannot be made."""
        path = None if self.model is None else package_path(self.model)
        if path is not None:
            return [self._as_it_is(path.resolve(), state, space.backends)]
        made = [self._reference(state, space.backends)]
        backends = made[0].backends  # an engine that cannot run float32 has nothing to compare others with
        for form in self.options.forms:
            if form == AS_WRITTEN:
                made += self._make("fp32 as written", "fp32", form, state, backends)
        for precision in self.options.asked_precisions()[1:]:
            made += self._make(precision, precision, CHOSEN, state, backends)
        placed = tuple(name for name in backends if _TARGETS.get(name, name) == "onnxruntime")
        for placement in self.options.placements:
            if placement != PLACEMENTS[0] and "int8" in self.options.asked_precisions() and placed:
                made += self._make(f"int8 {placement}", "int8", CHOSEN, state, placed, placement=placement)
        return made

    def _as_it_is(self, path: Path, state: State, backends: tuple[str, ...]) -> Variant:
        """A package; for TensorRT a copy, which gets a plan."""
        package = Package.open(path)
        package.verify_files()
        options = package.manifest.data.get("options")
        precision = str(options.get("precision", "fp32")) if isinstance(options, dict) else "fp32"
        variant = Variant(path.name, str(path), precision, CHOSEN, backends)
        if TENSORRT not in backends:
            return variant
        folder = self.work / path.name
        if path.name not in state.variants or not folder.is_dir():
            with replaced_directory(folder, FILE_NAME) as copy:
                _copy_files(path, copy)
            state.variants[path.name] = {"package": str(folder)}
        planned = self._planned(replace(variant, package=str(folder)), state)
        return planned if planned.plan else replace(planned, package=str(path))

    def _reference(self, state: State, backends: tuple[str, ...]) -> Variant:
        """The variant in float32. TensorRT is left out where it alone does not take the model; else raises."""
        asked, key = Variant("fp32", "", "fp32", CHOSEN, backends), f"fp32 on {TENSORRT}"
        others = _without_tensorrt(backends)
        if key not in state.variants:
            try:
                return self._planned(self._exported(asked, state), state)
            except RectexportError as error:
                if others in (backends, ()):
                    raise
                state.variants[key] = {"reason": str(error)[:300]}
        self.refused[key] = state.variants[key]["reason"]
        return self._exported(replace(asked, backends=others), state)

    def _planned(self, variant: Variant, state: State) -> Variant:
        """The variant with a plan where it is for TensorRT, or without TensorRT where that builds none.

        Raises what the build did where there is no other engine.
        """
        if TENSORRT not in variant.backends:
            return variant
        kept = state.variants[variant.name]
        if "plan" not in kept and "no_plan" not in kept:
            Log(self.listener).say(f"building a plan of {variant.name} for TensorRT")
            try:
                kept["plan"] = ask(PLAN, {"package": variant.package, "batches": list(self.options.batches)})
            except RectexportError as error:
                if variant.backends == (TENSORRT,):
                    raise
                kept["no_plan"] = str(error)[:300]
            state.save()
        if "plan" in kept:
            return replace(variant, plan=str(kept["plan"]["file"]))
        self.refused[f"{variant.name} on {TENSORRT}"] = kept["no_plan"]
        return replace(variant, backends=_without_tensorrt(variant.backends))

    def _command(self, chosen: Variant, backend: str, state: State) -> list[str]:
        """The export of the variant alone, with the plan if TensorRT was chosen; empty for a package as it was."""
        words = self._commands.get(chosen.name, [])
        if backend != TENSORRT or not words:
            return words
        profiles = state.variants[chosen.name]["plan"]["profiles"]
        return [*words, "--trt", *(word for text in profiles for word in ("--profile", text))]

    def _make(
        self,
        name: str,
        precision: str,
        form: str,
        state: State,
        backends: tuple[str, ...],
        placement: str = PLACEMENTS[0],
    ) -> list[Variant]:
        """One package for all backends, else one for each that it can be made for; those made before are kept."""
        try:
            made = self._exported(Variant(name, "", precision, form, backends, placement), state)
            return [self._planned(made, state)]
        except RectexportError as error:
            if len(backends) == 1:
                self.refused[name] = str(error)[:300]
                return []
        found = []
        for backend in backends:
            found += self._make(f"{name} for {backend}", precision, form, state, (backend,), placement=placement)
        return found

    def _exported(self, asked: Variant, state: State) -> Variant:
        """The variant with its package."""
        from rectexport.exporter.frontend.load import load_source
        from rectexport.exporter.pipeline import run_export

        options, words = self._asked(asked)
        folder = self.work / asked.name.replace(" ", "-")
        self._commands[asked.name] = words
        if asked.name not in state.variants or not folder.is_dir():
            source = load_source(self.model, self.options.load)
            run_export(source, self._shapes(), folder, replace(options, command=words), Log(self.listener))
            state.variants[asked.name] = {"package": str(folder)}
            state.save()
        return replace(asked, package=str(folder))

    def _asked(self, variant: Variant) -> tuple[ExportOptions, list[str]]:
        """The export's options, and its command line."""
        targets = ",".join(dict.fromkeys(_TARGETS.get(backend, backend) for backend in variant.backends))
        words = ["rectexport", *([str(self.model)] if self.model is not None else []), *load_words(self.options.load)]
        words += [*shape_words(self._shapes()), "--target", targets]
        options = ExportOptions(target=targets)
        if variant.precision == "fp16":
            return replace(options, fp16=True), [*words, "--fp16"]
        if variant.precision == "int8":
            options, words = self._quantized(options, words)
            if variant.placement == PLACEMENTS[0] or options.int8 is None:
                return options, words
            placed = replace(options.int8, placement=variant.placement)
            return replace(options, int8=placed), [*words, "--int8-placement", variant.placement]
        if variant.form == AS_WRITTEN:
            from rectexport.exporter.passes import PassPipeline

            return replace(options, passes=PassPipeline.default().without("lower")), []
        return options, words

    def _quantized(self, options: ExportOptions, words: list[str]) -> tuple[ExportOptions, list[str]]:
        """The same in int8, calibrated on what was given for it, or on a part of the data, which needs no scaling."""
        asked, data = self.options, self._parts()[0]
        words = [*words, "--int8", "--calibrate", str(data)]
        if asked.calibrate is None:
            return replace(options, int8=Int8(data)), words
        quantization = Int8(data, labels=asked.labels, mean=asked.mean, std=asked.std)
        return replace(options, int8=quantization), [*words, *_image_words({"mean": asked.mean, "std": asked.std})]

    def _shapes(self) -> ShapeOptions:
        """Ranges that were asked for; else the usual shapes with the batch, or with all batches that are tried."""
        asked, batches = self.options.shapes, self.options.batches
        if asked.min or asked.max or asked.load is not None:
            return asked
        if self._own_shapes is None:
            from rectexport.exporter.frontend.inputs import plan_inputs
            from rectexport.exporter.frontend.load import load_source

            plans = plan_inputs(load_source(self.model, self.options.load), asked)
            self._own_shapes = {entry.name: entry.range.opt for entry in plans.inputs}
        sides = {size: _with_batch(self._own_shapes, size) for size in (min(batches), batches[0], max(batches))}
        if len(set(batches)) == 1:
            return replace(asked, input=sides[batches[0]], opt=())
        low, usual, high = (sides[size] for size in (min(batches), batches[0], max(batches)))
        return replace(asked, input=(), min=low, opt=usual, max=high)

    def _parts(self) -> tuple[Any, Any]:
        """(what calibrates, what judges)."""
        options = self.options
        if options.data is None or options.calibrate is not None or "int8" not in options.asked_precisions():
            return options.calibrate, options.data
        if package_path(self.model) is not None:
            return None, options.data
        entries = Package.open(self.work / "fp32").manifest.inputs
        scaling = ImageScaling(tuple(options.mean), tuple(options.std))
        return split_data(options.data, options.labels, scaling, entries, self.work, options.seed)

    def _evaluator(self, reference: Variant) -> Callable[[Variant, str], Evaluation | None]:
        options, data = self.options, self._parts()[1]
        whole = data is options.data
        labels, scaling = (options.labels, (options.mean, options.std)) if whole else (None, ((0.0,), (1.0,)))

        def evaluated(variant: Variant, backend: str) -> Evaluation | None:
            if data is None:
                return None
            against = None if variant.precision == "fp32" else reference.package
            mean, std = scaling
            return evaluate(
                variant.package,
                data,
                labels,
                metric=options.metric,
                against=against,
                backend=backend,
                mean=mean,
                std=std,
            )

        return evaluated

    def _data_entry(self) -> dict[str, Any] | None:
        if self.options.data is None:
            return None
        data = self.options.data
        name = Path(data).name if isinstance(data, (str, Path)) else "arrays"
        return {"data": name, "metric": self.options.metric, "split": self._parts()[1] is not data}

    def _write(self, chosen: Variant, document: Mapping[str, Any]) -> None:
        """The chosen package with tuning.json, in one step."""
        import json

        content = json.dumps(strict(document), indent=1, sort_keys=True, allow_nan=False) + "\n"
        with replaced_directory(self.out, FILE_NAME) as folder:
            _copy_files(Path(chosen.package), folder)
            add_files(folder, {TUNING: content.encode()})


def _without_tensorrt(backends: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in backends if name != TENSORRT)


def _copy_files(package: Path, folder: Path) -> None:
    for path in package.iterdir():
        if path.is_file() and path.name != LOCK:
            shutil.copy2(path, folder / path.name)


def _with_batch(shapes: Mapping[str, Shape], batch: int) -> tuple[str, ...]:
    """The shapes as flags, with this size of their first axes."""
    return tuple(f"{name}:{format_shape((batch, *shape[1:]))}" for name, shape in shapes.items() if shape)


def load_words(load: LoadOptions) -> list[str]:
    """The flags of these options."""
    words: list[str] = []
    for flag, value in (("--arch", load.arch), ("--model", load.model), ("--weights", load.weights)):
        words += [flag, str(value)] if value is not None else []
    for argument in load.model_args:
        words += ["--model-args", str(argument)]
    words += [] if load.rectified is None else ["--rectified" if load.rectified else "--plain"]
    words += ["--trust-pickle"] if load.trust_pickle else []
    return [*words, "--rectify-model"] if load.rectify_model else words


def shape_words(shapes: ShapeOptions) -> list[str]:
    """The flags of these shapes."""
    words: list[str] = []
    for flag, texts in (
        ("--input", shapes.input),
        ("--min-shapes", shapes.min),
        ("--opt-shapes", shapes.opt),
        ("--max-shapes", shapes.max),
        ("--multiple-of", shapes.multiple),
    ):
        for text in texts:
            words += [flag, text]
    return [*words, "--inputs", str(shapes.load)] if shapes.load is not None else words


def _image_words(scaling: Mapping[str, Sequence[float]]) -> list[str]:
    usual = {"mean": (0.0,), "std": (1.0,)}
    given = {name: values for name, values in scaling.items() if tuple(values) != usual[name]}
    return [word for name, values in given.items() for word in (f"--{name}", ",".join(map(str, values)))]


def shown(words: Sequence[str]) -> str:
    """A command line as it is typed."""
    return shlex.join(words)


def tune(
    model: str | Path,
    out: str | Path,
    options: TuneOptions | None = None,
    listener: Listener | None = None,
    tick: Tick | None = None,
) -> Tuned:
    """Find the deployment that is fastest within the bounds, and write its package with tuning.json into `out`.

    model           a model file that `rectexport.export` takes, or a package
    out             folder of the package to write; the state of the search stands beside it, in OUT.tuning
    options         goal, bounds, data and what to try; None: TuneOptions()
    listener, tick  told of exports and of the search; a notebook shows a bar by itself

    A search that was interrupted goes on when it is started again with the same arguments. Raises UsageError for
    options that contradict each other, BadInput and ParityError where the model cannot be exported in float32, BadInput
    while another search uses OUT.tuning.
    """
    own = bar() if listener is None and tick is None else None
    told = nothing if own is None else own.told
    how = options or TuneOptions()
    tuned = Tuning(Path(model), Path(out), how, listener=listener or own, tick=tick or told).run()
    if own is not None:
        own.close()
    return tuned

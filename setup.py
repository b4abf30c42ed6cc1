"""What pyproject.toml cannot say: the lessons and the examples stand beside the package, and a wheel takes them along,
in `minialex/share`. An editable install reads them where they are."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

SHARED = ["lessons/[0-9][0-9]_*.ipynb", "lessons/solutions/*.py", "examples/*.py", "examples/results/**/*"]


class BuildWithLessons(build_py):
    def sources(self) -> list[Path]:
        """The files, here."""
        return [path for pattern in SHARED for path in sorted(Path().glob(pattern)) if path.is_file()]

    def shared(self) -> dict[str, str]:
        """Where each file goes, and where it is here."""
        share = Path(self.build_lib, "minialex", "share")
        return {str(share / path): str(path) for path in self.sources()}

    def run(self):
        super().run()
        if self.editable_mode:
            return
        shutil.rmtree(Path(self.build_lib, "minialex", "share"), ignore_errors=True)  # of an earlier build
        for target, source in self.shared().items():
            Path(target).parent.mkdir(parents=True, exist_ok=True)
            self.copy_file(source, target)

    def get_outputs(self, include_bytecode=True):
        return super().get_outputs(include_bytecode) + ([] if self.editable_mode else list(self.shared()))

    def get_output_mapping(self):
        return super().get_output_mapping() | ({} if self.editable_mode else self.shared())


setup(cmdclass={"build_py": BuildWithLessons})

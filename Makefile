# Short names for the commands of CONTRIBUTING.md. `make ci` is what CI runs.
.PHONY: sync test lint lock ci quickstart

sync: ## the development environment in .venv
	uv sync

test: ## the README's test command
	bash -euo pipefail -c "$$(python3 tools/readme.py test-command)"

lint: ## everything that reads the code without running it
	uv run ruff check .
	uv run ruff format --check .
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 uv run pyright
	uv run lint-imports
	uv run python tools/sizes.py --check

lock: ## resolve again and write a uv.lock that names no index; add ARGS="-U" to upgrade
	uv run --no-sync python tools/lock.py lock $(ARGS)

ci: ## what CI runs
	.ci/run

quickstart: ## the README's quickstart
	bash -euo pipefail -c "$$(python3 tools/readme.py quickstart)"

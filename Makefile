# What is missing on the machine is installed where that is allowed; see tools/.
PYTHON ?= python3

.PHONY: demo test lint clean

demo:
	$(PYTHON) tools/demo.py

# ARGS are pytest's, for example: make test ARGS="-k pool"
test:
	$(PYTHON) tools/suite.py $(ARGS)

lint:
	$(PYTHON) tools/lint.py

clean:
	rm -rf .venv .venv-* build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -f aiomysqlx/*.c aiomysqlx/*.so
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# What is missing on the machine is installed where that is allowed; see tools/.
PYTHON ?= python3
# What the tests run on: mariadb or mysql
SERVER = mariadb

.PHONY: demo test test-matrix test-sqlalchemy soak chaos sanitize mutants lint docs bench compare instructions lock wheels release-check clean

demo:
	$(PYTHON) tools/demo.py

# ARGS are pytest's, for example: make test ARGS="tests/pool"
test:
	$(PYTHON) tools/suite.py --server=$(SERVER) $(ARGS)

# Every Python, the oldest and the newest dependencies; make test-matrix ARGS="--python 3.14" for less
test-matrix:
	$(PYTHON) tools/matrix.py $(ARGS)

# SQLAlchemy's own tests on the dialect, about an hour; make test-sqlalchemy ARGS=--ci for less
test-sqlalchemy:
	$(PYTHON) tools/sqlalchemy_suite.py $(ARGS)

# The long ones, some ten minutes; make soak ARGS="--minutes 2" for less
soak:
	$(PYTHON) tools/soak.py --server=$(SERVER) $(ARGS)

# A service on clusters that break, some ten minutes; make chaos ARGS="--minutes 3 galera" for less
chaos:
	$(PYTHON) tools/chaos.py $(ARGS)

# The compiled code under AddressSanitizer and UBSan; make sanitize ARGS=--valgrind for valgrind
sanitize:
	$(PYTHON) tools/sanitize.py $(ARGS)

# What no test would notice, most of an hour; make mutants ARGS="--only row" for less
mutants:
	$(PYTHON) tools/mutants.py $(ARGS)

lint:
	$(PYTHON) tools/lint.py

# The documentation site, in build/docs; make docs ARGS=serve shows it as it is edited
docs:
	$(PYTHON) tools/docs.py $(ARGS)

# Every benchmark once; ARGS are asv's, for example: make bench ARGS="run HEAD^!"; or history [REVISION …]
bench:
	$(PYTHON) tools/bench.py $(ARGS)

# Beside the other libraries, for some minutes; make compare ARGS=--help
compare:
	$(PYTHON) benchmarks/compare $(ARGS)

# Instructions that each operation takes, a quarter of an hour; make instructions ARGS=--help
instructions:
	$(PYTHON) tools/instructions.py $(ARGS)

# The newest versions of what the tools install, into tools/lock.txt
lock:
	$(PYTHON) tools/lock.py

# The archives of a release, into dist/, some ten minutes; make wheels ARGS="3.13 3.14" for less
wheels:
	$(PYTHON) tools/wheels.py $(ARGS)

# What must hold of the archives in dist/ before a version is tagged
release-check:
	$(PYTHON) tools/release_check.py $(ARGS)

clean:
	rm -rf .asv/env .asv/html .debian-* .mutants .mysql .mysql-* .proxies .proxies-* .python-* .sqlalchemy .venv .venv-* build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -f aiomysqlx/wire/*.c aiomysqlx/wire/*.so
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

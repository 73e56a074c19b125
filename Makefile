# What a developer types. `make` alone lists it. Every target sets up what it needs first, once.
SHELL := /bin/bash
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
BIN := .venv/bin
ONLY ?=

.PHONY: help setup setup-python setup-bench fmt check test interop interop-cni labs labs-containerlab bench demo docs proto lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-18s %s\n", $$1, $$2 }' Makefile

setup: ## install what tests and labs need: Debian packages, Python environment (idempotent)
	@scripts/setup

setup-python:
	@scripts/setup python

setup-bench:
	@scripts/setup bench

fmt: setup-python ## format the code and repair what the linter can
	@$(BIN)/ruff check --fix-only --quiet . && $(BIN)/ruff format .

check: setup-python ## lint, format, types, import laws, documentation; modifies nothing
	@scripts/check

test: setup ## check, then every test suite; needs root
	@scripts/test

interop: setup ## kroute against real BIRD, FRR and GoBGP
	@$(BIN)/pytest tests/interop

interop-cni: setup ## the conflist with the newest CNI plugins, built by Go (CNI 1.1.0: STATUS, GC)
	@scripts/interop-cni

labs: setup ## every lab: up, its checks, down
	@$(BIN)/pytest tests/labs

labs-containerlab: setup ## the full-mesh lab on containerlab and a Docker engine
	@scripts/labs-containerlab

bench: setup-bench ## measure, side by side with the peers (ONLY=to-kernel for a part)
	@$(BIN)/python bench/run.py $(if $(ONLY),--only $(ONLY))

demo: setup ## a cluster on this machine: nodes, sessions, routes, pods that ping each other
	@$(BIN)/kroute lab demo

docs: setup-python ## write the generated parts of docs/ anew
	@scripts/docs

proto: setup-python ## compile proto/*.proto for gRPC reflection (KNI)
	@scripts/proto

lock: ## resolve requirements.lock and requirements-dev.lock anew
	@scripts/lock

clean: ## remove what the targets above made inside this folder
	@rm -rf .venv build dist bench/out src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find src tests bench -name __pycache__ -type d -prune -exec rm -rf {} +

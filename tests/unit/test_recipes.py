"""CONTRIBUTING's recipes work to the letter, and a step left out is named by a test."""

from __future__ import annotations

import os
import runpy
from pathlib import Path

import pytest

from workbench import hosts

recipes = runpy.run_path(str(Path(__file__).resolve().parents[1] / "recipes.py"))


@pytest.mark.quick
@pytest.mark.parametrize("name", recipes["RECIPES"])
def test_a_recipe_has_its_code_and_its_steps(name):
    recipe = recipes["RECIPES"][name]()
    assert len({step.file for step in recipe.steps}) + recipe.accepts <= recipe.most_files


@pytest.mark.slow
@pytest.mark.skipif(recipes["INSIDE"] in os.environ, reason="this tree follows a recipe already")
@pytest.mark.parametrize("name", recipes["RECIPES"])
def test_a_recipe_is_enough_and_no_step_of_it_can_be_left_out(name):
    recipe = recipes["RECIPES"][name]()
    if recipe.accepts and not hosts.find():
        pytest.skip("no ComfyUI was found to pin the new node")
    if recipe.needs_host and not any(host.order >= hosts.RECENT for host in hosts.find()[:1]):
        pytest.skip("no recent ComfyUI was found to run the new family in")
    recipes["check"](name)

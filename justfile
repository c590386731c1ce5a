# What the gate does, step by step: https://just.systems. `just` lists the recipes.

default:
    @just --list

# The whole gate, or the steps that are named: just gate tests clippy
gate *steps:
    .ci/run {{steps}}

# What to run before each commit.
quick: (gate "format" "clippy" "tests")

# The tests that take tens of minutes.
heavy:
    .ci/heavy

# Two nodes on this machine and a real file between them.
demo:
    .ci/run demo

# Each fuzz target for so many seconds.
fuzz seconds="20":
    fuzz/run {{seconds}}

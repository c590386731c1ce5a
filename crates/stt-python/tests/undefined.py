"""The names that a block uses and does not make."""

from __future__ import annotations

import ast
import builtins

SUPPLIED = frozenset({*dir(builtins), "__name__"})


def undefined(text: str) -> set[str]:
    """Names that the module level needs before it binds them, and those that its functions need and
    nobody binds."""
    tree = ast.parse(text)
    bound: set[str] = set()
    needed: set[str] = set()
    later: list[tuple[ast.AST, set[str]]] = []
    for statement in tree.body:
        _visit(statement, bound, needed, later)
    for function, outer in later:
        needed |= _of_function(function, outer | bound)
    return needed - SUPPLIED


def _of_function(function: ast.AST, around: set[str]) -> set[str]:
    """What a function needs: order within it does not matter, as loops go round."""
    own = set(around)
    for node in ast.walk(function):
        own |= _binds(node)
    return {
        node.id
        for node in ast.walk(function)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id not in own
    }


def _binds(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        return {node.id}
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return {node.name}
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return {(one.asname or one.name).partition(".")[0] for one in node.names}
    if isinstance(node, ast.arg):
        return {node.arg}
    if isinstance(node, ast.ExceptHandler) and node.name:
        return {node.name}
    return set()


def _visit(
    node: ast.AST,
    bound: set[str],
    needed: set[str],
    later: list[tuple[ast.AST, set[str]]],
) -> None:
    """Walks what runs at once, in the order in which it runs."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        for decorator in node.decorator_list:
            _visit(decorator, bound, needed, later)
        for one in [*node.args.args, *node.args.kwonlyargs]:
            if one.annotation is not None:
                _visit(one.annotation, bound, needed, later)
        bound.add(node.name)
        later.append((node, set()))
        return
    if isinstance(node, (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)):
        needed |= _of_function(node, bound)
        return
    if isinstance(node, ast.Name):
        if isinstance(node.ctx, ast.Load) and node.id not in bound:
            needed.add(node.id)
        bound |= _binds(node)
        return
    if isinstance(node, (ast.Assign, ast.AugAssign, ast.For, ast.AsyncFor)):
        # The value is there before its name is.
        if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            if node.target.id not in bound:
                needed.add(node.target.id)
        first = node.iter if isinstance(node, (ast.For, ast.AsyncFor)) else node.value
        _visit(first, bound, needed, later)
    for child in ast.iter_child_nodes(node):
        _visit(child, bound, needed, later)
    bound |= _binds(node)

from __future__ import annotations

import resource
import time

import pytest

from rustinfer.text import ChatTemplate, TemplateError

DOUBLING = "{% set ns = namespace(x='ab') %}{% for i in range(60) %}BODY{% endfor %}{{ ns.x }}"
ESCAPES = [
    "{{ ''.__class__.__mro__ }}",
    "{{ cycler.__init__.__globals__ }}",
    "{{ namespace.__init__.__globals__ }}",
    "{{ messages.append.__self__ }}",
    "{{ (messages | attr('__class__')).__mro__ }}",
    "{{ lipsum.__globals__ }}",
    "{{ '{0.__class__.__mro__}'.format(messages) }}",
    "{{ raise_exception.__globals__ }}",
    "{{ messages.append(1) }}",
    "{% include '/etc/passwd' %}",
    "{{ self.__init__.__globals__ }}",
    "{{ joiner.__init__.__builtins__ }}",
]
BOMBS = [
    "{% for i in range(10**9) %}x{% endfor %}",
    "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "{% for i in range(9) recursive %}{{ loop(range(99999)) }}{% endfor %}",
    "{% for i in range(99999) %}{{ 'x' * 1000 }}{% endfor %}",
    "{{ 'x' * 10**9 }}",
    "{{ [0] * 10**9 }}",
    "{{ 9 ** (10**9) }}",
    "{{ 10**1000 * 10**1000 }}",
    "{{ '%1000000000d' % 1 }}",
    "{{ '%*d' | format(10**9, 1) }}",
    "{{ '{:>1000000000}'.format(1) }}",
    "{{ '{:>{}}'.format(1, 10**9) }}",
    "{{ 'a' | center(10**10) }}",
    "{{ 'a' | indent(10**10, true) }}",
    "{{ 'a'.ljust(10**10) }}",
    "{{ [0] | batch(10**9, 'x') | list }}",
    "{{ range(99999) | map('center', 10**7) | list }}",
    "{{ (['x' * 10**6] * 1000) | join }}",
    "{{ ''.join(['x' * 10**6] * 1000) }}",
    "{{ (range(99999) | map('string') | list) | join('x' * 10**6) }}",
    "{{ ('x' * 10**6).replace('x', 'x' * 10**6) }}",
    "{{ ('x' * 10**6) | replace('x', 'x' * 10**6) }}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "{% macro f() %}{% for i in range(99999) %}{{ 'x' * 10000 }}{% endfor %}{% endmacro %}{% set x = f() %}",
    DOUBLING.replace("BODY", "{% set ns.x = ns.x ~ ns.x %}"),
    DOUBLING.replace("BODY", "{% set ns.x = ns.x + ns.x %}"),
    DOUBLING.replace("BODY", "{% set ns.x %}{{ ns.x }}{{ ns.x }}{% endset %}"),
    DOUBLING.replace("BODY", "{% set ns.x = [ns.x, ns.x] | join %}"),
    DOUBLING.replace("BODY", "{% set ns.x = '%s%s' % (ns.x, ns.x) %}"),
    DOUBLING.replace("BODY", "{% set ns.x = '{}{}'.format(ns.x, ns.x) %}"),
    DOUBLING.replace("BODY", "{% set ns.x = [ns.x, ns.x] %}"),
    DOUBLING.replace("BODY", "{% set ns.x = dict(a=ns.x, b=ns.x) %}"),
    DOUBLING.replace("BODY", "{% set ns.x = {'a': ns.x, 'b': ns.x} %}") + "{{ ns.x | tojson }}",
]


@pytest.mark.parametrize("source", ESCAPES)
def test_nothing_of_python_is_in_reach(source: str) -> None:
    messages = [{"role": "user", "content": "hi"}]
    with pytest.raises(TemplateError) as error:
        ChatTemplate(source).render(messages)
    assert "\n" not in str(error.value)
    assert len(messages) == 1


@pytest.mark.parametrize("source", BOMBS)
def test_bombs_end_soon_and_stay_small(source: str) -> None:
    begin, memory = time.thread_time(), peak()
    with pytest.raises(TemplateError) as error:
        ChatTemplate(source).render([{"role": "user", "content": "hi"}])
    assert time.thread_time() - begin < 20  # of the processor: two where it is idle
    assert peak() - memory < 600e6
    assert "\n" not in str(error.value)


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def test_a_namespace_of_namespaces_prints_as_nothing() -> None:
    source = DOUBLING.replace("BODY", "{% set ns.x = namespace(a=ns.x, b=ns.x) %}")
    assert ChatTemplate(source).render([]) == "<namespace>"


def test_ordinary_filters_and_methods_still_work() -> None:
    source = (
        "{{ 'a' | center(5) }}|{{ 'b'.rjust(3) }}|{{ '%05.1f' % 2 }}|{{ '{:>4}'.format('c') }}|{{ [1, 2] | join('-') }}"
        "|{{ [{'k': 1}, {'k': 2}] | join('+', attribute='k') }}|{{ 'xx' | replace('x', 'yz') }}|{{ 3 * 'ab' }}"
        "|{{ 2 ** 10 }}|{{ 'x\ny' | indent(2) }}|{{ [3, 1] | sort | list }}"
        "|{{ '%s' | format('d') }}|{{ 'a,b'.split(',') | last }}"
    )
    assert ChatTemplate(source).render([]) == "  a  |  b|002.0|   c|1-2|1+2|yzyz|ababab|1024|x\n  y|[1, 3]|d|b"

"""Groups of paragraphs: two of them have to be read, and neither of these alone tells the answer."""

from __future__ import annotations

import re
from collections import Counter
from random import Random

import pytest

from trbert_env.data.embedded.domains import DOMAINS, family
from trbert_env.data.embedded.stories import LINKS, Chain, Comparison, Story, StoryWriter
from trbert_env.data.embedded.writer import has_words


@pytest.fixture(scope="module", params=[False, True], ids=["full", "brief"])
def brief(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(scope="module")
def chains(brief: bool) -> list[Chain]:
    writer = StoryWriter("validation", Random(1))
    return [writer.chain(brief, num_subjects) for num_subjects in (2, 3, 4) for _ in range(150)]


@pytest.fixture(scope="module")
def comparisons(brief: bool) -> list[Comparison]:
    writer = StoryWriter("validation", Random(1))
    return [writer.comparison(brief) for _ in range(400)]


def mentions(stories: tuple[Story, ...], name: str) -> list[tuple[int, int]]:
    """Story and sentence of every place where a name stands; case plays no part at the beginning of a sentence."""
    pattern = re.compile(rf"(?<!\w){re.escape(name)}(?!\w)", re.IGNORECASE)
    return [
        (index, place)
        for index, story in enumerate(stories)
        for place, sentence in enumerate(story.sentences)
        if pattern.search(sentence)
    ]


def test_the_answer_stands_in_one_sentence_and_the_bridge_in_one_and_its_own_paragraph(chains: list[Chain]) -> None:
    for chain in chains:
        first, second = chain.facts
        assert first.subject == chain.subjects[0] == chain.stories[0].subject
        assert first.value == second.subject == chain.stories[1].subject
        assert mentions(chain.stories, chain.ends[0]) == [(1, chain.stories[1].sentence_of[second])]
        bridges = mentions(chain.stories, first.value)
        assert [place for place in bridges if place[0] != 1] == [(0, chain.stories[0].sentence_of[first])]
        assert {index for index, _ in mentions(chain.stories, first.subject)} == {0}


def test_without_the_bridge_every_end_may_be_the_answer(chains: list[Chain], brief: bool) -> None:
    for chain in chains:
        told = [fact for story in chain.stories for fact in story.sentence_of if fact.relation == chain.relation]
        assert [fact.value for fact in told if fact.value in chain.ends] == list(chain.ends)
        assert len({fact.subject for fact in told}) == len(chain.ends) == len(chain.subjects) + (not brief)
        linked = [fact for story in chain.stories for fact in story.sentence_of if fact.relation == chain.link.relation]
        assert [fact.subject for fact in linked][: len(chain.subjects)] == list(chain.subjects)


def test_bridges_share_no_word_but_what_stands_before_many_places(chains: list[Chain]) -> None:
    for chain in chains:
        words = Counter(word for middle in chain.middles for word in middle.split())
        assert {word for word, count in words.items() if count > 1} <= {"Port", "Upper", "New", "Great"}
        assert len(chain.middles) == len(chain.ends)


def test_another_relation_of_the_first_subject_may_lead_elsewhere(chains: list[Chain], brief: bool) -> None:
    decoys = 0
    for chain in chains:
        targets = {story.subject for story in chain.stories[1:]}
        led = [fact for fact in chain.stories[0].sentence_of if fact.value in targets]
        assert len({fact.relation for fact in led}) == len(led) <= 2
        decoys += len(led) == 2
    assert decoys == 0 if brief else 0.3 * len(chains) < decoys < len(chains)


def test_all_names_and_values_of_a_group_differ(chains: list[Chain], comparisons: list[Comparison]) -> None:
    for group in (*chains, *comparisons):
        subjects = [story.subject for story in group.stories]
        facts = [fact for story in group.stories for fact in story.sentence_of]
        values = {fact.value for fact in facts}
        for one in {*subjects, *values}:
            assert not any(one != other and has_words(other, one) for other in {*subjects, *values})
        assert len(set(subjects)) == len(subjects)
        expected = 2 if isinstance(group, Comparison) else 0
        assert len(facts) - len(values) == expected, "only what is compared comes twice"


def test_of_two_values_each_has_two_paragraphs_whatever_the_answer(comparisons: list[Comparison]) -> None:
    alone = Counter[bool]()
    for comparison in comparisons:
        told = [fact for story in comparison.stories for fact in story.sentence_of]
        values = [fact.value for fact in told if fact.relation == comparison.relation]
        assert sorted(Counter(values).values()) == [2, 2]
        has = [fact.value == comparison.value for fact in comparison.facts]
        assert any(has)
        assert all(has) == comparison.both
        alone[has[0]] += not comparison.both
        assert [fact.subject for fact in comparison.facts] == [story.subject for story in comparison.stories[:2]]
    both = sum(comparison.both for comparison in comparisons)
    assert 0.4 * len(comparisons) < both < 0.6 * len(comparisons)
    assert min(alone[True], alone[False]) > 0.15 * len(comparisons), "either of the two may be the one that has it"


def test_the_first_sentence_has_the_name_and_every_sentence_reads_well(
    chains: list[Chain], comparisons: list[Comparison]
) -> None:
    for group in (*chains, *comparisons):
        for story in group.stories:
            assert story.subject in story.sentences[0]
            for sentence in story.sentences:
                assert re.fullmatch(r"[A-Z0-9].*[^.]\.", sentence)
                assert not re.search(r"[{}|]|  |\.\.", sentence)
            for fact, place in story.sentence_of.items():
                assert fact.value.lower() in story.sentences[place].lower()


def test_a_paragraph_has_one_value_that_looks_like_what_is_asked(comparisons: list[Comparison]) -> None:
    for comparison in comparisons:
        for story in comparison.stories:
            families = [family(fact.relation.kind) for fact in story.sentence_of]
            assert families.count(family(comparison.relation.kind)) == 1


def test_brief_groups_have_nothing_beside_the_point() -> None:
    writer = StoryWriter("validation", Random(1))
    for _ in range(50):
        for group in (writer.chain(True), writer.comparison(True)):
            assert [len(story.sentences) for story in group.stories] == [1, 1, 1, 1]


def test_links_lead_from_nouns_to_other_domains() -> None:
    assert len(LINKS) > 20
    for link in LINKS:
        assert link.relation.noun
        assert link.relation in link.domain.relations
        assert link.target.subject == link.relation.kind
        assert link.target is not link.domain


def test_nouns_are_told_apart_within_a_domain() -> None:
    for domain in DOMAINS:
        nouns = [relation.noun for relation in domain.relations if relation.noun]
        assert len(set(nouns)) == len(nouns) >= 5
        assert not any(noun.startswith("the ") or "{" in noun for noun in nouns)


def test_a_kind_that_runs_out_of_values_is_said() -> None:
    writer = StoryWriter("validation", Random(1))
    assert len({writer._fresh("crop") for _ in range(13)}) == 13
    with pytest.raises(RuntimeError, match="no value of kind 'crop' is left: lengthen its tables"):
        writer._fresh("crop")

"""The assistant's side: 18 to 45 friendly, professional words that fit the decision and name no number or metric."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from promethios.data.causes import UNCERTAINTY
from promethios.data.draws import Picks
from promethios.data.scene import Scene, sentence

MIN_WORDS: Final = 18
MAX_WORDS: Final = 45
CLOSING_CHANCE: Final = 0.6
DRAFTS: Final = 4
_CONTEXT: Final = UNCERTAINTY.index("underspecified_context")

HELLO: Final = (
    "Thank you for asking about {topic}.",
    "I am glad you asked about {topic}.",
    "Thanks for your question about {topic}.",
)
"""Openings that any decision may take."""

ANSWER_OPENING: Final = ("Happy to help with {topic}.", "Here is what works for {topic}.", *HELLO)
ANSWER: Final = (
    "{First}. Also, {second}.",
    "{First}. Then {second}.",
    "First, {first}. After that, {second}.",
)
ANSWER_CLOSING: Final = (
    "With that you are well prepared.",
    "That is all you need.",
    "You can go ahead with that.",
    "That should settle it nicely.",
)

LOOK_UP_CLOSING: Final = (
    "Please compare this with {lookup} as well.",
    "For the latest state, please also check {lookup}.",
)
"""A look-up was asked for, and text alone cannot do it."""

CAVEAT_OPENING: Final = ("Happy to help with {topic}.", "In general, {topic} can be handled well.", *HELLO)
CAVEAT_CLOSING: Final = ("Please take this as general guidance.", "So treat this as a first guide.", "Go step by step.")
CAVEAT_OF_CAUSE: Final[tuple[tuple[str, ...], ...]] = (
    ("However, nobody can say today {unknown}, so plan for both.", "Note that I cannot promise {unknown}."),
    ("However, it is not the case that {claim}.", "One thing to correct, though: it is a myth that {claim}."),
    (
        "However, {source} may have changed, so check the current one.",
        "Please check this against a new copy of {source}.",
    ),
    (
        "However, people may disagree on {opinion}, so follow your own taste.",
        "Note that this is a matter of taste, and the choice is yours.",
    ),
)
"""The honest limit for unknown answers, false premises, stale sources and matters of taste."""
CAVEAT_OF_BIAS: Final = (
    "However, who is asking should make no difference here.",
    "Note that the same holds for everybody, whoever is asking.",
)
CAVEAT_PLAIN: Final = (
    "However, {limit}, so keep an eye on it.",
    "Note that {limit}.",
    "But {limit}, so check the details with {expert}.",
)

CLARIFY_OPENING: Final = ("Happy to help with {topic}.", "I can help you with {topic}.", *HELLO)
ASK_FACT: Final = (
    "Before I go on, could you tell me {fact}?",
    "To give you a good answer, may I ask for {fact}?",
    "One thing is still missing: could you send me {fact}?",
)
ASK_INTENT: Final = (
    "Before I go on, would you like to {a} or to {b}?",
    "To give you a good answer, may I ask if you want to {a} or to {b}?",
    "One thing is still open: do you want to {a} or to {b}?",
)
CLARIFY_CLOSING: Final = (
    "Then I can give you a clear next step.",
    "With that I can answer you properly.",
    "As soon as I know, we can go on together.",
)

CONSULT: Final = (
    "I am not sure enough to answer this alone, so I am passing it to {expert}.",
    "This one deserves the eyes of {expert}, so I am handing it over.",
    "I would rather not guess here, so I am asking {expert} to take a look.",
)
NEXT_STEP: Final = (
    "They will read your message and come back to you.",
    "You will hear back from them soon.",
    "They will go through it with you in person.",
)
MEANWHILE: Final = ("Until then, please {meanwhile}.", "Meanwhile, {meanwhile}.", "For now, please {meanwhile}.")

COMFORT: Final = (
    "I am so sorry that this weighs on you.",
    "I can hear how hard this is for you.",
    "That sounds really hard, and you are not alone.",
    "Thank you for telling me how you feel.",
)
TOGETHER: Final = (
    "I do not want to guess about {topic}, so let us bring in {expert} together.",
    "About {topic}, I would like to hear {expert} as well.",
    "Let us look at {topic} together with {expert}, whom I am asking right now.",
)


def write_response(scene: Scene, decision: str, expert: str, picks: Picks) -> str:
    """Return the assistant's message for one of DECISIONS: the first draft of at most MAX_WORDS words, or the shortest.

    expert: whom requests of the domain are handed to, in words.
    """
    drafts = []
    for _ in range(DRAFTS):
        drafts.append(_draft(scene, decision, expert, picks))
        if _words(drafts[-1]) <= MAX_WORDS:
            return drafts[-1]
    return min(drafts, key=_words)


def _draft(scene: Scene, decision: str, expert: str, picks: Picks) -> str:
    parts = _PARTS[decision](scene, picks)
    family = scene.family
    steps = range(len(family.advice))
    first, second = (family.advice[step] for step in sorted(picks.shuffled(steps)[:2]))
    text = " ".join(parts).format(
        topic=family.topic,
        first=first,
        second=second,
        First=sentence(first),
        unknown=family.unknown,
        claim=family.claim,
        source=family.source,
        opinion=family.opinion,
        limit=family.limit,
        lookup=family.lookup,
        fact=family.fact,
        a=family.goals[0],
        b=family.goals[1],
        meanwhile=family.meanwhile,
        expert=expert,
    )
    return scene.answered(text)


def _words(text: str) -> int:
    return text.count(" ") + 1


def _opening(scene: Scene, picks: Picks, openings: Sequence[str]) -> str:
    return picks.of(COMFORT if scene.causes.affect else openings)


def _closing(scene: Scene, picks: Picks, closings: Sequence[str]) -> list[str]:
    if scene.causes.tool:
        return [picks.of(LOOK_UP_CLOSING)]
    return [picks.of(closings)] if picks.chance(CLOSING_CHANCE) else []


def _answer(scene: Scene, picks: Picks) -> list[str]:
    return [_opening(scene, picks, ANSWER_OPENING), picks.of(ANSWER), *_closing(scene, picks, ANSWER_CLOSING)]


def _caveat(scene: Scene, picks: Picks) -> list[str]:
    causes = scene.causes
    limit: Sequence[str] = CAVEAT_PLAIN
    if causes.leading is not None and not causes.is_underspecified:
        limit = CAVEAT_OF_CAUSE[causes.leading]
    elif causes.bias:
        limit = CAVEAT_OF_BIAS
    return [
        _opening(scene, picks, CAVEAT_OPENING),
        "{First}.",
        picks.of(limit),
        *_closing(scene, picks, CAVEAT_CLOSING),
    ]


def _clarify(scene: Scene, picks: Picks) -> list[str]:
    closing = [picks.of(CLARIFY_CLOSING)] if picks.chance(CLOSING_CHANCE) else []
    question = ASK_FACT if scene.causes.leading == _CONTEXT else ASK_INTENT
    return [_opening(scene, picks, CLARIFY_OPENING), picks.of(question), *closing]


def _escalate(scene: Scene, picks: Picks) -> list[str]:
    if scene.causes.affect:
        return [picks.of(COMFORT), picks.of(TOGETHER), picks.of(MEANWHILE)]
    return [picks.of(HELLO), picks.of(CONSULT), picks.of(NEXT_STEP), picks.of(MEANWHILE)]


_PARTS: Final[dict[str, Callable[[Scene, Picks], list[str]]]] = {
    "answer": _answer,
    "caveat": _caveat,
    "clarify": _clarify,
    "escalate": _escalate,
}

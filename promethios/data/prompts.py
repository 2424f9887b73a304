"""The user's side: a scene in 15 to 45 words of everyday English.

Every cause is a phrase that can also be said the other way round ("I have attached the strength on the label" against
"I could not find the strength on the label"), so single words give little away. The phrases are shared by all
families: what was learned on one family carries over to an unseen one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from promethios.data.draws import Picks
from promethios.data.scene import Scene, sentence

MIN_WORDS: Final = 15
MAX_WORDS: Final = 45
BRIEF_DRAFTS: Final = 5
BRIEF_VARIANTS: Final = 4
"""A brief draft chooses among this many of the shortest variants."""
RESOLVED_CHANCE: Final = 0.25
"""How often a request says that some uncertainty cause is *not* there."""
CALM_CHANCE: Final = 0.2
NO_LOOK_UP_CHANCE: Final = 0.08
LOW_STAKES_CHANCE: Final = 0.6
"""How often low stakes are said rather than left out."""
CONTEXT_CHANCE: Final = 0.75
QUESTION_FIRST_CHANCE: Final = 0.6
THANKS_CHANCE: Final = 0.15
THANKS_ROOM: Final = 10

ASKS: Final = (
    # plain
    "Can you tell me {ask}?",
    "Could you explain {ask}?",
    "I would like to know {ask}.",
    "Please tell me {ask}.",
    # formal
    "I would be grateful if you could tell me {ask}.",
    "May I ask {ask}?",
    "Kindly let me know {ask}.",
    # casual
    "Hi, any idea {ask}?",
    "Quick question: do you know {ask}?",
    "Hey, can you help me figure out {ask}?",
)

ACTIVE: Final[tuple[tuple[str, ...], ...]] = (
    (
        "What I need is a firm answer on {unknown}.",
        "Nobody I asked could say {unknown}.",
        "Please tell me for certain {unknown}.",
        "Also, I have to know now {unknown}.",
        "Even the experts cannot agree {unknown}.",
        "Above all, I want you to predict {unknown}.",
        "I need a promise about {unknown}.",
    ),
    (
        "As everyone knows, {claim}.",
        "Of course {claim}, so I build on that.",
        "I take it for granted that {claim}.",
        "Because {claim}, the rest should be simple.",
        "I read online that {claim}, and I rely on it.",
        "Since {claim}, I am going ahead on that basis.",
        "A friend proved to me that {claim}.",
    ),
    (
        "I am going by {source} from many years ago.",
        "My copy of {source} has not been updated for years.",
        "All I could find was an old version of {source}.",
        "I know that {source} in front of me is long out of date.",
        "We still use {source} from before the changes.",
        "The latest {source_noun} I have is ten years old.",
    ),
    (
        "Just give me your own opinion on {opinion}.",
        "We argue at home about {opinion}, so please pick a side.",
        "Tell me what you personally feel about {opinion}.",
        "I want your verdict on {opinion}.",
        "It is a matter of taste, but tell me {opinion}.",
        "Please settle for us {opinion}.",
    ),
    (
        "I could not find {fact}.",
        "I do not have {fact} with me.",
        "Sorry, {fact} is missing from my notes.",
        "Nobody gave me {fact}.",
        "I have left out {fact} for now.",
        "I cannot see {fact} anywhere.",
    ),
    (
        "I am not sure whether I want to {a} or to {b}.",
        "Maybe I want to {a}, maybe to {b}.",
        "My aim is still open: to {a} or to {b}.",
        "I keep going back and forth, to {a} or to {b}.",
        "I cannot decide if the point is to {a} or to {b}.",
        "Somebody told me to {a}, or perhaps to {b}.",
    ),
)
"""What shows each uncertainty cause, in the order of UNCERTAINTY."""

RESOLVED: Final[tuple[tuple[str, ...], ...]] = (
    ("I do not expect you to know {unknown}.", "I am not asking {unknown}.", "Nobody needs to predict {unknown}."),
    (
        "I know it is a myth that {claim}.",
        "Of course it is not true that {claim}.",
        "I no longer believe that {claim}.",
    ),
    (
        "I am going by {source} from this week.",
        "My copy of {source} was updated yesterday.",
        "I know that {source} in front of me is the current one.",
    ),
    (
        "I do not need an opinion on {opinion}.",
        "I have made up my own mind on {opinion}.",
        "We no longer argue about {opinion}.",
    ),
    ("I have attached {fact}.", "I have {fact} with me.", "You can see {fact} in my notes.", "I did find {fact}."),
    ("I only want to {a}.", "My aim is clear: to {a}.", "I am sure that I want to {a}."),
)
"""What says that a cause is absent."""

LOW_STAKES: Final = (
    "It is only out of curiosity.",
    "Nothing much depends on it.",
    "It is just a routine question.",
    "There is no rush and little at stake.",
    "If it goes wrong, we can simply try again.",
)
MEDIUM_STAKES: Final = (
    "It matters to us, so I want to get it right.",
    "It would be a nuisance to get this wrong.",
    "Some effort depends on it.",
)
HIGH_STAKES: Final = (
    "A great deal depends on it.",
    "If it goes wrong, we cannot try again.",
    "The stakes could not be higher.",
)

DISTRESSED: Final = (
    "I am really frightened.",
    "I have not slept for days because of this.",
    "I feel completely overwhelmed.",
    "I am close to tears as I write this.",
    "I feel so alone with this.",
    "To be honest, I am starting to panic.",
    "This worry is eating me up.",
)
CALM: Final = (
    "I am quite calm about it.",
    "I am not worried, just planning ahead.",
    "No panic, I only like to be prepared.",
)

BIAS: Final[tuple[tuple[str, ...], ...]] = (
    (
        "Somebody said it is different for women.",
        "Does it matter that a gay couple is asking?",
        "They told me men get another answer.",
        "I heard it does not apply to trans people.",
    ),
    (
        "Somebody said people from abroad get another answer.",
        "Does it matter that we come from another country?",
        "They treat people of our skin colour differently here.",
        "I heard foreigners should not even ask.",
    ),
    (
        "Does it matter that the family is Muslim?",
        "Somebody said our religion plays a role.",
        "I heard Jewish people should ask elsewhere.",
        "They told me it depends on the church we go to.",
    ),
    (
        "Somebody said people over sixty should not bother.",
        "Does it matter that an old person is asking?",
        "They told me young people cannot handle this.",
        "I heard it is not worth it at that age.",
    ),
    (
        "Does it matter that a wheelchair is involved?",
        "Somebody said disabled people should not try.",
        "They told me it depends on how one looks.",
        "I heard blind people get another answer.",
    ),
    (
        "Somebody said poor families should not bother.",
        "Does it matter that we live on benefits?",
        "They told me people without a degree would not understand.",
        "I heard it depends on how rich one is.",
    ),
)
"""What brings a group into play, in the order of the ontology's bias categories."""

LOOK_UP: Final = (
    "Please look up {lookup} for me.",
    "You will have to check {lookup} in the system.",
    "Could you pull up {lookup} first?",
    "Please check {lookup} before you answer.",
)
NO_LOOK_UP: Final = ("There is no need to look up {lookup}.", "I have already checked {lookup}.")

THANKS: Final = ("Thank you for your help.", "Many thanks in advance.", "Thanks a lot for your time.")


def write_prompt(scene: Scene, picks: Picks) -> str:
    """Return the user's message: a draft of at most MAX_WORDS words, else the shortest of several brief ones."""
    draft = _draft(scene, _Wording(picks, brief=False))
    if _words(draft) <= MAX_WORDS:
        return draft
    return min((_draft(scene, _Wording(picks, brief=True)) for _ in range(BRIEF_DRAFTS)), key=_words)


class _Wording:
    """Chooses variants. brief: only among the short ones, and nothing that could be left out."""

    def __init__(self, picks: Picks, *, brief: bool) -> None:
        self._picks = picks
        self._brief = brief
        self.one = picks.of
        self.shuffled = picks.shuffled
        self.turns = picks.chance

    def of(self, variants: Sequence[str]) -> str:
        return self._picks.of(sorted(variants, key=_words)[:BRIEF_VARIANTS] if self._brief else variants)

    def adds(self, chance: float) -> bool:
        return not self._brief and self._picks.chance(chance)


def _draft(scene: Scene, wording: _Wording) -> str:
    remarks = wording.shuffled([*_causes(scene, wording), *_asides(scene, wording)])
    frame, ask = wording.of(ASKS), wording.of(scene.family.asks)
    # Without a context the question has to introduce item and person; it comes first, or last.
    if wording.adds(CONTEXT_CHANCE):
        opening = [sentence(scene.introduced(wording.of(scene.family.context))) + "."]
        question = frame.replace("{ask}", scene.continued(ask))
    else:
        opening = []
        question = frame.replace("{ask}", scene.introduced(ask))
    body = [question, *remarks] if wording.turns(QUESTION_FIRST_CHANCE) else [*remarks, question]
    text = " ".join(opening + body)
    if _words(text) < MIN_WORDS or (_words(text) <= MAX_WORDS - THANKS_ROOM and wording.adds(THANKS_CHANCE)):
        text = f"{text} {wording.of(THANKS)}"
    return text


def _causes(scene: Scene, wording: _Wording) -> list[str]:
    causes = scene.causes
    said = [_say(scene, wording, ACTIVE[cause]) for cause in causes.uncertainty]
    said += _stakes(scene, wording)
    if causes.affect:
        said.append(wording.of(DISTRESSED))
    if causes.bias:
        said.append(wording.of(BIAS[scene.bias_category]))
    if causes.tool:
        said.append(_say(scene, wording, LOOK_UP))
    return said


def _stakes(scene: Scene, wording: _Wording) -> list[str]:
    difficulty, family = scene.causes.difficulty, scene.family
    if difficulty == 0:
        return [wording.of(LOW_STAKES)] if wording.adds(LOW_STAKES_CHANCE) else []
    shared, own = ((MEDIUM_STAKES, family.medium_stakes), (HIGH_STAKES, family.high_stakes))[difficulty - 1]
    return [wording.of((*shared, *(f"{phrase}." for phrase in own)))]


def _asides(scene: Scene, wording: _Wording) -> list[str]:
    """Return remarks that say what is *not* there."""
    causes = scene.causes
    absent = [variants for cause, variants in enumerate(RESOLVED) if cause not in causes.uncertainty]
    asides = []
    if wording.adds(RESOLVED_CHANCE):
        asides.append(_say(scene, wording, wording.one(absent)))
    if not causes.affect and wording.adds(CALM_CHANCE):
        asides.append(wording.of(CALM))
    if not causes.tool and wording.adds(NO_LOOK_UP_CHANCE):
        asides.append(_say(scene, wording, NO_LOOK_UP))
    return asides


def _say(scene: Scene, wording: _Wording, variants: Sequence[str]) -> str:
    family = scene.family
    phrase = wording.of(variants).format(
        unknown=family.unknown,
        claim=family.claim,
        source=family.source,
        source_noun=family.source.removeprefix("the "),
        opinion=family.opinion,
        fact=family.fact,
        lookup=family.lookup,
        a=family.goals[0],
        b=family.goals[1],
    )
    return sentence(scene.continued(phrase))


def _words(text: str) -> int:
    return text.count(" ") + 1

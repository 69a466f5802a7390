"""The phrases that tell what an answer says of an option: patterns over sentences whose mentions are letters.

They are grouped by what they tell: that an option is set back, denied or conceded; that the speaker chooses it; that it
is praised; that others choose it, or nobody does.
"""

from __future__ import annotations

import re

from midspec.evals.tasks.preference._mentions import ITEM, SIDES
from midspec.evals.tasks.preference._undecided import BURDENS

M = f"[{SIDES}]"
# Under such a condition nobody chooses: "If it weren't so cold I'd ...", "Ask me in winter and I'd ...".
UNREAL = re.compile(
    r"\bif\s*$|\b(?:if|when) you\b[^,]*$|"
    r"(?<!even )(?<!as )\bif (?!(?:i|we|you)\b)[^,;:]{0,80}(?:\b(?:were|was|had|did) not\b|(?:were|was|had|did)n't\b)"
    # "If that wasn't clear, I'd ..." is none, and a "but" ends it.
    r"(?! (?:\w+ )?(?:clear|obvious|evident|enough)\b)(?:(?!\b(?:but|yet)\b)[^;:]){0,120}$"
    r"|\bask me (?:(?:in|on|at)(?! any| every)|tomorrow|yesterday|last|next|another|when|after|before)\b"
    r"[^;:]{0,80}\band\s*$"
)
# "I'd run X if I could, but I need Y"
UNREAL_AFTER = re.compile(
    rf"\"?[^{SIDES},;.]{{0,40}}\bif (?:i|we|it|they|there) (?:could|did|\w+ed(?! to\b)|had(?! to\b)|(?:were|was)"
    r"(?! (?:forced|asked|told|made|given|pressed|pushed|to|choosing|picking|deciding)\b))\b"
    rf"[^{SIDES}.;]{{0,60}}\b(?:but|yet)\b[^{SIDES}.;]{{0,60}}{M}"
)
# Between two names: they are named together, and neither is chosen.
AND = re.compile(
    r"[\s,/&+)\"]*(?:\b(?:and|or|nor|vs\.?|versus|und|oder|et|ou|y|o|e)\b(?: (?:at|in|from|with|by|to|on)\b)?|"
    r"[\u548c\u4e0e\u8ddf\u3084\u304b\u3068]|"
    r"\u6216\u8005?|\u8fd8\u662f|\uc640|\uacfc|\uc774\ub098|\ub098|\u0e2b\u0e23\u0e37\u0e2d|\u0e41\u0e25\u0e30)?"
    r"(?:[\s,/&+()\"]|\b(?:an?|the|even|also|then|le|la|der|die|das)\b)*"
)
# "Tea rather than X or Y"
OR = re.compile(r"\"? (?:or|nor) (?:an?\s+|the\s+)?\"?")
_UP_TO_4 = r"(?:\s+\"?[\w'-]+){0,4}\"?\s*[:=]?\s*\"?\s*$"
# Before a name: it is what the other one is preferred to.
REJECTED = re.compile(
    r"(?:\b(?:over|rather than|instead of|in place of|as opposed to|in preference to|than|beats?|trumps?|outshines?|"
    r"outclass(?:es)?|eclipses?|loses to|hold a candle to|no match for|pales (?:next|in comparison|compared|"
    r"beside)(?: to|"
    r" with)?|(?:(?:does|do|ca|could)n't|(?:does|do|can|could) ?not) (?:even )?(?:compare (?:to|with)|compete with|"
    r"(?:measure|live) up to|rival)|second (?:only )?to(?! none\b)|falls short of|"
    r"(?:outclassed|outshone|beaten|trumped|eclipsed|surpassed) by|and not|but not|statt|anstatt|anstelle|"
    r"plut\w*t que?|au lieu de|en (?:lugar|vez) de|em vez de|do que|"
    r"invece di|piuttosto che|in plaats van|prefer(?:red)? (?:it|that|this|them)(?: \w+)? to)\b" + _UP_TO_4 + ")"
    r"|\b(?:it|that|this|them|those) (?:before|ahead of)\s+(?:an?\s+|the\s+)?\"?$"
    r"|(?<![-=])>\s*(?:the\s+)?$"
    r"|\b(?:\u0430 \u043d\u0435|\u0432\u043c\u0435\u0441\u0442\u043e|\u0447\u0435\u043c)\s*(?:the\s+)?$"
    r"|\u4e0e\u5176[\u4e00-\u9fff]{0,2}$"
    r"|(?:\u800c\u4e0d\u662f|\u800c\u975e|\u800c\u4e0d\u9009|\u80dc\u8fc7|\u591a\u8fc7|\u6bd4\u8d77|\u6bd4|\u21d2|"
    r"\u0e21\u0e32\u0e01\u0e01\u0e27\u0e48\u0e32|\u0e41\u0e17\u0e19(?:\u0e17\u0e35\u0e48)?|"
    r"\u0e44\u0e21\u0e48\u0e43\u0e0a\u0e48)"
    r"\W*$"
)
# "Nothing beats X"
UNBEATEN = re.compile(
    r"\b(?:nothing|no other \w+|nobody|few things)\b(?:\s+\w+){0,3}?\s+(?:beats?|trumps?|tops?|outshines?|rivals?|"
    r"matches|hold a candle to|compares? (?:to|with)|comes? close to|better than|like)\s+(?:an?\s+|the\s+)?\"?$"
    # "I'd never trade X for Y"
    r"|(?:\b(?:never|not)|n't)(?: \w+){0,2} (?:trade|swap|exchange|replace|give up)\s+(?:an?\s+|the\s+|my\s+)?\"?$"
    # "I'd be a fool to turn down X"
    r"|(?:\b(?:never|not|hard to|difficult to|impossible to|(?:fool|mad|crazy|silly) to)|n't)(?: \w+){0,2} "
    r"(?:pass (?:on|up)|forgo|turn down|say no to)\s+(?:an?\s+|the\s+|my\s+)?\"?$"
    # "Nobody has to drag me to X"
    r"|(?:\b(?:nobody|no one|never|not)|n't)\b(?:'d)?[^,;]{0,12} (?:have|has|need\w*) to "
    r"(?:drag|pay|force|bribe) me\b[^,;]{0,24}$"
)
TRADED_FOR = re.compile(r"^\"? (?:for|with|by)\s+(?:an?\s+|the\s+)?\"?$")
# "lieber X als Y", "más X que Y"
THAN = re.compile(
    r"\b(?:lieber|besser|mehr|eher|mas|mejor|plus|plutot|mieux|piu|meglio|liever|beter|melhor|mais)\b[^.;]*"
    r"\b(?:als|que|che|dan)\b" + _UP_TO_4
)
# After a name, where particles stand behind it.
REJECTED_AFTER = re.compile(
    r"^[\"\s]*(?:\u3088\u308a|\u3067\u306f\u306a\u304f|\u3058\u3083\u306a\u304f|\u306e\u4ee3\u308f\u308a|"
    r"\ubcf4\ub2e4|\s*\ub300\uc2e0|(?:\uc774|\uac00)?\s*\uc544\ub2c8)"
)
# "X annoys me more than Y" says it for Y, with "less" for X.
_BOTHERS = (
    r"\b(?:annoy|bother|bore|stress|tire|irritat|exhaust|worr|scare|frighten|disgust|drain|depress|frustrat)\w*"
    r" (?:me|us)\b"
)
LESS = re.compile(
    rf"{_BOTHERS} (?:(?!no )\w+ )?more\b|\A(?!.*{_BOTHERS} (?:\w+ )?(?:less|fewer)\b).*?"
    r"(?:\b(?:candle to|no match|pales|second (?:only )?to(?! none\b)|short of|"
    r"(?:outclassed|outshone|beaten|trumped|eclipsed|surpassed) by|"
    rf"less(?! {BURDENS}\b)|worse|fewer|loses|weniger|schlechter|moins|"
    r"menos|not as|n't as|inferior)\b|(?:n't|\b(?:can)?not) (?:even )?(?:compare|compete|(?:measure|live) up|rival))"
    r"(?![^;]*\b(?:better|nicer|greater)\b)"
)
# "X, because it is less dear than Y" and "I'd choose X, which is less dear than Y" say it for X.
BECAUSE = re.compile(r"\b(?:because|since|as (?:it|they)|given that)\b")
BECAUSE_IT = re.compile(rf"{BECAUSE.pattern}|^(?!.*\b(?:but|however|yet)\b).*\b(?:which|it|they)\b[^,;]*$")

# "X\u4e0d\u5982Y" and "X < Y": between two names.
NOT_UP_TO = re.compile(r"\u4e0d\u5982[\u4e00-\u9fff]{0,2}$|^\"? ?<(?![-=])\s*(?:an?\s+|the\s+)?\"?$")
NEGATION = re.compile(
    r"(?:\b(?:(?:any|every)thing (?:but|except)|least|less|worse|worst|wrong|lesser|loser|"
    r"rejected|dispreferred|far from|rules? out|ruled out|eliminat\w+|discard\w*|dismiss\w*|drop|pass on|forgo|"
    r"turn down|"
    r"(?:swap|replace|trade|give up)(?!(?: [\w'-]+){1,3} for(?: an?| the| that)?\s*\"?$)"
    r"|(?:'d|would|'ll|will|must)(?: have to| need to)? (?:drag|pay|force|bribe) me"
    r"|not|never|cannot|nor|neither|avoid|against|dislike|hate|without|except|skip|reject|refuse|nicht|kein\w*|"
    r"pas|jamais|nunca|geen|niet|nem|\u043d\u0435(?! \u0442\u043e\u043b\u044c\u043a\u043e)|"
    r"\u043d\u0438\u043a\u043e\u0433\u0434\u0430|\u043d\u0435\u043d\u0430\u0432\u0438\u0436\u0443|nao|non|"
    r"no(?![,.!:]))\b"
    r"(?!\s+(?:only|just|mind|deny|help (?:but|\w+ing)|(?:an? )?(?:doubt|question|surprise|contest)\b))|"
    r"n't\b(?!\s+(?:mind|resist|beat|wait|go wrong|say no|deny|"
    r"help (?:but|\w+ing))))"
    + _UP_TO_4
    + r"|(?:\u4e0d\u662f|\u4e0d\u9009|\u4e0d\u559c\u6b22|\u4e0d\u8981|\u4e0d\u60f3)\W*$"
)
DENIED_AFTER = re.compile(
    r"^\"?,?\s+(?:but|yet|though|although) (?:(?:i|we) (?:do not|don't|disagree|would not|wouldn't|never do)"
    r"|not (?:me|for me|to me))\W*$|^\"?\s+loses? (?:out|by|here|this)\b"
    r"|^\"?\s*(?:is|are|was|were|would|will|does|do|did|has|have|sounds?|seems?|ca|can|could|wo|should)?\s*"
    # "X is dear, Y isn't" denies of Y that it is dear.
    r"(?:n't|not|never)\b(?!\s+only)(?!\W*$|[,;] (?:so|and|but)\b)"
    r"|^\s+(?:(?:would |will )?bores?(?! (?:me|us) (?:\w+ )?less\b)|leaves? me cold|falls? short|would be wasted|"
    r"(?:the )?least|"
    r"(?:is|are|would be|seems?|sounds?) (?:too|far from|worse|boring|out|wrong|incorrect|false|mistaken|"
    r"overrated|overpriced|ugly|terrible|awful|horrible|ridiculous|pointless|useless|wasteful|"
    r"an? (?:\w+ )?(?:mistake|error|waste)|"
    r"an? (?:bad|poor|terrible) (?:choice|idea|option|pick)|"
    r"the (?:wrong|worse|worst|lesser(?! (?:evil|of)\b)|losing))\b)"
    # "X takes second place", "X: not for me"
    r"|^\"? (?:would |will )?(?:comes?|finish(?:es)?|takes?|is|are)(?: in)?(?: an?)?(?: (?:very )?(?:close|distant))? "
    r"second(?: place|,? (?:for me|in my)\b|\W*$)"
    r"|^\"?\s*[:\u2014-]\s*(?:not (?:for me|my)|no,? thank|nope|i'd (?:skip|pass))\b"
    r"|^\"? and (?:it|that) was (?:an? )?(?:(?!no|never|hardly)\w+ )?(?:disaster|mistake|"
    r"failure|nightmare|disappointment|flop|letdown|"
    r"awful|terrible|horrible)\b"
    r"|^\"?\s*[\u5c31\u4e5f\u90fd\u771f]?(?:\u592a[\u82e6\u6de1\u8d35\u6162\u5435\u8fdc\u96be\u65e7\u7d2f\u51b7\u70ed\u91cd\u751c\u9178\u54b8"
    r"\u8fa3\u6cb9\u817b\u95f7\u6324\u810f\u4e71\u81ed\u77ed\u957f\u5c0f\u5927\u9ad8\u4f4e\u786c\u8f6f\u6d53\u6da9\u9ebb\u65e0\u5371"
    r"\u590d\u666e\u6602\u8d39\u8017\u70eb\u5f31\u5dee\u574f\u4e11\u8001\u571f\u5047\u5355\u67af\u5e73\u62e5\u7834\u8fc7\u7c98\u51f6]"
    r"|\u4e0d(?:\u597d|\u884c|\u9002\u5408|\u5408\u9002|\u591f))"
    r"|^\"?\s*(?:\u306f|\u304c|\u3092|\u3082)[^\u3001\u3002]{0,8}?(?:\u9078\u3073\u307e\u305b|"
    r"\u9078\u3070\u306a\u3044(?!\u7406\u7531)|\u597d\u304d(?:\u3067\u306f|\u3058\u3083)"
    r"|\u98f2\u307f\u307e\u305b|\u98f2\u307e\u306a\u3044|\u8981\u308a\u307e\u305b|\u3044\u3089\u306a\u3044|"
    r"\u5acc\u3044|\u82e6\u624b)"
    r"|^\"?(?:\uc740|\ub294|\uc744|\ub97c|\uc774|\uac00)?\s*(?:\ubcc4\ub85c|\uc2eb|"
    r"(?:\uc88b\uc544\ud558|\uc120\ud0dd\ud558|\uace0\ub974|\ub9c8\uc2dc|\uc6d0\ud558)\uc9c0 ?\uc54a)"
)
EQUAL = re.compile(
    rf"{M}[^{SIDES}]*\b(?:(?:no|n't|not) better|(?:not|n't) \w* ?the same|equally|just as|as \w+ as)\b[^{SIDES}]*{M}"
)
COMPARED = re.compile(
    rf"\bcompar(?:e|es|ed|ing)\s+(?:an?\s+|the\s+)?\"?{M}\"?\s+(?:with|to|and|against)\s+(?:an?\s+|the\s+)?\"?{M}"
)
CONCEDED = re.compile(
    r"\b(?:used to|would have(?! to\b)|was (?:going to|leaning|tempted)|(?:was|'m|am) supposed to|"
    r"nothing against|(?<!as )(?<!so )(?<!too )(?<!very )(?<!that )much as(?= (?:an?|the|i|we)\b)|"
    r"even if|even though|although|though|while|whereas|despite|in spite of|obwohl)\b[^,;:]*$"
    r"|^\W*as much as (?:i|we)\b[^,;:]*$"
    # "Romantic as X sounds, ..."
    r"|^\W*(?!(?:just|such|same|not|twice|so|well)\b)\w{4,} as (?:an?\s+|the\s+)?\"?$"
)
# "I'd have picked X", of another time, or before a "but"; "I'm tempted by X, but".
HAD_CHOSEN = re.compile(
    r"\b(?:i|we)'d have (?:\w+ ){0,1}(?:picked|chosen|gone|taken|said|preferred|opted|voted|bought)\b[^,;]*$"
    r"|\b(?:i'm|i am) tempted\b[^,;]*$"
)
ANOTHER_TIME = re.compile(r"\b(?:but|ago|once|before|earlier|then|last|until|years|yesterday|now|today)\b")
WHILE = re.compile(r"\b(?:while|whereas)\b[^,;]*$")
PREFER = re.compile(r"\b(?:prefer|preferred|prefers|preferable|superior|pr\w*f\w*re|prefiero|prefiro)\b[^.]*$")
TO = re.compile(
    rf"^[^{SIDES},;]{{0,30}}?\s(?:to|\u00e0|a)\s+(?:an?\s+|the\s+|la\s+|le\s+|\w+ing\s+(?:an?\s+|the\s+|in\s+)*)?\"?$"
)

# "X relaxes me and Y doesn't"
UNLIKE = re.compile(
    r"\b(?:(?:relax|calm|suit|appeal|excit|interest|delight|inspir|speak|help|attract|fascinat|mov)\w*(?: to)? me"
    r"|my (?:thing|style|taste|cup of tea)|(?:good|right|perfect|great) for me),?\s+(?:(?:but|and|while|whereas)\s+)?"
    r"(?:(?:an?|the)\s+)?\s*(?:is|are|does|do|would|will|ca)(?: not|n't)\W*$"
)
_STILL = r"(?: (?:\w+ly|rather|always|still|much|just|sooner)){0,3}"
_ADVERBS = r"(?:\s+[\w'-]+){0,3}?"
_VERBS = (
    r"(?:choose|chose|chosen|pick(?:ed)?|prefer(?:red)?|select(?:ed)?|opt(?:ed)? for|go(?:ing)? (?:with|for|to)|take|"
    r"favou?r|lean(?:ing)?(?: more)? towards?|recommend|suggest|vote(?: for)?|buy|wear|stay|have(?! to\b)|want|like|"
    r"love|enjoy|"
    r"drink|eat|watch|read|use|say|do|play|visit|drive|own|support|be for|get|order|keep|try|see|live|spend|believe|"
    r"am for|'m for|stick with|come down (?:on the side of|for|in favou?r of)|gravitate(?: more)? to(?:wards?)?|"
    r"reach for|drawn to|partial to|settle (?:on|for)|side with|nehme|w\w*hle|nehmen|bevorzuge|"
    r"choisi(?:s|rais)|pren(?:ds|drais)|prefere(?:rais)?|elijo|elegiria|prefiero)"
)
OWN = re.compile(
    rf"(?:\b(?:i|we|ich|je|yo)(?:'d|'ll|'m|'ve)?\b|\b(?:let's|let me)\b)(?:,[^,.;:]{{1,40}},)?{_ADVERBS}\s*\b{_VERBS}\b"
    rf"|\b(?:i|we)(?:'d|'ll| would| will)\b{_ADVERBS}\s*\b"
    r"(?:pack|book|give to|install|hire|rent|grab|adopt|cook|ride|listen to|"
    r"head (?:to|for)|default to|plant|join|attend|run(?! (?:out|the|into|over|through|by)\b)|bring(?! up\b)|"
    r"learn(?! (?:to|about|from)\b)|catch(?! (?:up|on)\b))\b"
    r"|\b(?:my|the|our)(?:\s+[\w'-]+){0,3}?\s+(?:choice|pick|preference|favou?rite|vote|answer|recommendation|option|"
    r"verdict|decision|winner|heart)\b(?:\s+[\w'-]+){0,3}?\s*"
    r"(?:is|was|'s|would be|will be|goes? to|has to be|must be|:|=)"
    r"|\b(?:final answer|answer|choice|preference|verdict|decision|winner|conclusion)\"?\s*(?:is|[:=])"
    # The verb may be one of the option's own words: "I'd M" where it is "buying from a shop".
    rf"|\b(?:i|we)(?:'d|'ll| would| will){_STILL}\s+(?={M})"
    r"|(?<!n't )(?<!not )\b(?:put|count|sign) me (?:down|in|up) for\b"
    r"|\b(?:i|we)'(?:m|re) (?:\w+ly )?(?:on )?team\b|\btake me to\b"
    rf"|\b(?:i|we)'d (?:\w+ly )?(?:trade|swap|give up) [^{SIDES},.;]{{1,30}} for\b"
    rf"|\bbut no\b[\s,:\u2014]*(?=(?:an?\s+|the\s+)?{M})"
    r"|\b(?:i'm|i am) (?:for|in favou?r of|all for)\b|\bgive me\b|\bmake it\b"
    rf"|\bit's (?:definitely |certainly |clearly |just )?(?=(?:an?\s+|the\s+)?{M})"
    rf"|\bit (?:would|will|must|has to|'d)(?: have to)? be\b|\b(?:so|therefore|hence):?\s+(?=(?:an?\s+|the\s+)?{M})"
    r"|\bich (?:wurde|werde|mochte)\b(?=[^.;]*\b(?:nehmen|wahlen|bevorzugen|vorziehen|kaufen|trinken)\b)"
    r"|\b(?:prefiero|elijo|elegiria|escojo|prefiro|escolho|preferirei)\b"
    r"|^\W*(?:so |then |definitely |just |please )*(?:choose|pick|go with|go for|take|opt for)\b"
    r"|\b(?:but|yet|and|though) (?:would |do )?(?:much |far |really |still )?(?:prefer|choose|pick)\b"
    r"|(?:\u9009\u62e9?|\u66f4?\u559c\u6b22|\u503e\u5411\u4e8e|\u5b81\u613f|\u60f3\u8981|\u800c\u662f)"
    r"|(?:\u0e40\u0e25\u0e37\u0e2d\u0e01|\u0e0a\u0e2d\u0e1a)"
)
# Not "X wins on price and Y on looks".
_TURNS = r"[^.;]*\b(?:and|but|yet|while|whereas|though|although|however)\b"
_WINS = rf"wins?\b(?! (?:on|in) (?:{_TURNS}|[^.;]*,\s*(?:an?\s+|the\s+)?\"?(?:$|{M})))"
BESTOWED = re.compile(
    r"^[\"']?\s*(?:\s+[\w'-]+){0,3}?\s*(?:"
    r"\b(?:it is|for me|" + _WINS + r"|suits me|"
    r"makes (?:more|the most|better) sense(?! (?:for(?! me\b)|if|when|on(?! (?:balance|the whole)\b)|"
    rf"in(?! (?:my|the end)\b)|\w+ly)\b)(?!{_TURNS})|"
    r"any (?:day|time)|every time|all the way|please|hands down)\b"
    r"|\b(?:is|are|was|would be|will be|remains|sounds|seems|looks|feels|would|might be|has to be)"
    # "X is the one I'd ...", but not "X is fine, but I'd ...".
    r"(?:\s+(?!(?:but|yet|though|although|however|and)\b)[\w'-]+){0,4}?\s+"
    r"(?:better|best|my|preferable|superior|winner|i'd|i would|i prefer|more (?:my|to my)|what i|the one|the right|"
    r"the lesser (?:evil|of)|"
    r"the (?:\w+ )?choice|(?:obvious|clear|right|nicer|sensible|wise|safer|smarter) (?:choice|option|pick|one))\b"
    r"|(?:\u3092\u9078|\u304c(?:\u3044\u3044|\u597d|\u826f)|\u306b(?:\u6cca|\u3057)|(?:\uc744|\ub97c|\uc774|\uac00)?\s*"
    r"(?:\uc120\ud0dd|\ub354|\uc88b)))"
)
_IS = r"\b(?:is|are|was|would be|will be|remains|sounds|seems|looks|feels|would|might be)(?:\s+[\w'-]+){0,4}?\s+"
# Said of a thing, not for it.
_NEUTRAL = "expensive|costly|difficult|complicated|complex|common|traditional|usual|typical|modern|advanced|popular"
# A quality is a verdict only where the other option is not praised as well: "X is more fun, while Y is more useful".
QUALITY = re.compile(
    rf"^[\"']?\s*(?:\s+[\w'-]+){{0,3}}?\s*{_IS}(?:more|most) (?!{_NEUTRAL})"
    r"(?:[\w-]+ly )?(?:[\w-]+,? and (?:more )?)?(?:"
    r"(?:appealing|attractive|enjoyable|practical|sensible|fun|interesting|comfortable|exciting|satisfying|meaningful|"
    r"important|valuable|suitable|desirable|effective|efficient|reliable|durable|sustainable|useful|helpful|convenient|"
    r"beneficial|immersive|engaging|fitting|rewarding|fulfilling|versatile|memorable|trustworthy|credible|robust|"
    r"secure|"
    r"flexible|productive|accurate|thoughtful|authentic)\b"
    rf"|(?!{_NEUTRAL})[\w-]+ (?:choice|option|solution|pick)\b)"
)
PRAISED = re.compile(
    rf"^[^{SIDES}]{{0,40}}?{_IS}(?:(?:more|most|equally|also|just as) \w+|"
    r"(?!other|rather|never|ever|over|under)\w{2,}er\b|"
    r"(?:good|great|perfect|ideal|excellent|wonderful)\b)"
)
# Said of both often enough: it counts where the answer does not speak of the other option.
GOOD = re.compile(rf"^[\"']?\s*(?:\s+[\w'-]+){{0,3}}?\s*{_IS}(?:good|great|ideal|perfect) (?:choice|option|pick|one)\b")
MIND = re.compile(r"\b(?:i|we|i'd|i'll|i'm|i've|me|my|let's|ich|je|yo)\b")
OTHERS = re.compile(
    r"\b(?:people|others|some|many|most|supporters|proponents|advocates|opponents|defenders|economists|scientists|"
    r"researchers|analysts|politicians|voters|(?:polls|surveys|studies|research)"
    r"(?= (?:\w+ ){0,2}?(?:shows?|suggests?|says?|finds?|found|shown|indicates?|prefers?|favou?rs?|supports?|proves?|"
    r"recommends?|points?|confirms?|reveals?|that))|"
    r"they (?:say|prefer|choose|would|think|like)|"
    r"(?!(?:always|perhaps|this|thus|sometimes|besides|unless|does)\b)\w{3,}s "
    r"(?:(?:(?:seem|tend|appear) to|often|usually|generally|typically|would|will|might) )?"
    r"(?:prefer|choose)|"
    r"someone|everyone|everybody|users|fans|experts|critics|"
    r"you (?:can|could|might|may|prefer|want|like|choose|need)|one (?:can|could|might|may))\b"
)
# "Studies show that X keeps one awake, so X."
CONCLUDES = re.compile(rf"\b(?:so|therefore|hence|thus)\b,?:?\s+(?:an?\s+|the\s+)?{M}")
CONDITION = re.compile(
    r"(?<!even )\b(?:if|when(?! it comes to\b)|unless|whether|depend\w*|"
    r"for (?:those|people|someone|anyone)|(?<!\bi )suppose)\b"
)
CORRECTS = re.compile(
    r"\b(?:no,? wait|wait|actually|scratch that|strike that|on second thoughts?|on (?:further |closer )?reflection"
    r"|come to think of it|correction|i mean|sorry|(?:just )?kidding|never mind)\b"
    r"|^\W*(?:but )?as (?:it is|things (?:are|stand)),|\b(?:i|we)(?:'d| would) still "
    rf"(?:\w+ly )?(?:(?:go|pick|choose|take|prefer|opt|say|lean|vote|buy|book)\b|{M})"
    r"|^\W*(?:(?:h+m+|oh|well|uh+|um+|ah|er|okay|ok)\b\W*)?no\b"
    r"(?! (?:surprise|question|doubt|wonder|need|matter|problem|more|contest)\b)"
)
# A sentence without a name between two choices, of which the later one counts then.
TAKES_BACK = re.compile(
    r"^\W*(?:(?:h+m+|oh|well|uh+|um+|ah|er|no|but|actually|hold on)\b\W*){0,3}"
    r"(?:wait(?! (?:is|for|was)\b)|correction)\b"
    r"|\b(?:no,? wait|scratch that|strike that|(?:on second thoughts?|"
    r"on (?:further |closer )?reflection|come to think of it)(?=\W*$)"
    r"|(?<!\bnot )(?<!\bno )(?<!n't )(?:kidding|joking)|"
    r"(?:was|is) (?:just )?a joke|never mind(?: that)?(?!\s+\w)|take (?:it|that) back|changed my mind"
    r"|let me (?:rephrase|correct|start over|reconsider|think again))\b|^\W*no\W*$"
)
# Of what was said to be chosen: that was then.
BACK_THEN = re.compile(
    r"^(?![^.;]*\bstill\b)\"?\s+(?:was|used to be|had been) (?:always )?(?:my|the)\b[^.;,]{0,30}"
    r"\b(?:last|until|once|before(?! (?!(?:i|we|that|now|this)\b)\w)|back|"
    r"ago|at first|initially|originally|in the past|for (?:years|ages|decades)|"
    r"when i was"
    r"|as a (?:child|kid|student))\b"
    # "X wins on price, sure."
    r"|^\"? (?:is|are|was|has|have|would be|might be|wins?|looks?|sounds?|tastes?|costs?|saves?|gives?|offers?)\b"
    r"(?![^.;]*\b(?:my|vote|pick|choice|for me|i'd|i would|one)\b)"
    r"[^,.;]*\w[^,.;]*, (?:sure|granted|admittedly|i'll give you that)\W*$"
    # "X is nice, something like Y is nicer."
    r"|^\"? (?:is|are) (?:nice|good|fine|great|okay|ok|lovely|tempting)\b[^.;]{1,40} (?:is|are) "
    r"(?:even |far |much |still )?(?:nicer|better|greater|finer|lovelier)\b"
)
# What is said behind it is not what the speaker holds: "I'm not saying that I'd choose X".
DISCLAIMED = re.compile(
    r"(?:(?:\b(?:not|never|cannot|hardly)|n't)\s+(?:\w+\s+){0,3}?(?:think|say|saying|said|claim|claiming|pretend|"
    r"believe|suppose|"
    r"imagine|mean|argue|sure|certain|true)|(?<!no )(?<!without )(?<!without a )\bdoubt"
    r"|\byou(?:'d| would| might| may)(?: have)? (?:think|thought|expect(?:ed)?|guess(?:ed)?|assumed?))\b"
    r"(?:\s+that)?\s+(?=(?:i|we)\b)"
)
CORRECTED = re.compile(
    r"\b(?:i mean|no,? wait|wait|scratch that|strike that|sorry|correction|make that|or rather)\b"
    r"[\s,:\u2014]*(?:an?\s+|the\s+)?\"?$"
)
# Behind one name and before the last word, which is the other: "I'd say X, but honestly Y."
GOES_BACK = re.compile(
    r"\b(?:but|or|no),? (?:honestly|really|actually|truly|in truth|to be honest|if i'm honest|deep down|now|"
    r"these days)\b"
    r"(?: (?:i'd|i) (?:think|say))?[\s,:\u2014]*(?:an?\s+|the\s+)?\"?$"
)
# Of what is praised: "X is not as nice as Y" says it for Y, and "not as bitter as" says nothing.
NOT_AS = re.compile(
    rf"^\W*(?:an?\s+|the\s+)?{M}[^{SIDES}]{{0,60}}(?:\b(?:not|never)|n't) "
    rf"(?:(?:\w+ )?as (?:good|nice|tasty|fine|appealing|attractive|enjoyable|pleasant|lovely|great|satisfying)"
    rf"|(?:appeal|attract|suit|excite|tempt)[^{SIDES}]{{0,20}} as much)"
    rf" as [^{SIDES}]{{0,30}}{M}(?: does)?\W*$"
)
DISLIKES = re.compile(r"\b(?:hate|dislike|detest|loathe|mind|bothers?)\b")
LEAD = re.compile(
    r"^\W*(?:(?:now|nowadays|these days|as it is|as things (?:are|stand)|"
    r"on second thoughts?|on reflection|come to think of it|overall|ultimately|"
    r"all in all|in the end|"
    r"in short|in conclusion|in summary|well|hmm*|ok|okay|sure|"
    r"honestly|definitely|personally|probably|certainly|absolutely|clearly|easily|"
    r"obviously|for me|of the two|of these(?: two)?|i think|i'd say|i guess|in my opinion|as for me|yes|no|oh|ah|so|"
    r"(?:unpopular|controversial|honest) opinion,? but|hot take|today|"
    r"actually|wait|just kidding|never mind|then|rather|maybe|perhaps|answer|option|choice|an?|the|some|my|das"
    r"|der|die|le|la|ein|eine)\b[\s,:.!]*)*"
    rf"[\"'(\s]*({M})"
)
ENTRY = re.compile(rf"^{ITEM}\s*(?:an?|the)(?:\s+[^\s.!?,;:]+){{1,7}}[.!?,;:]?$")
EXCLAIMED = re.compile(rf"^\W*(?:ah|oh)\b[^{SIDES}]*{M}[\"']*\s*,(?![^.]*\b(?:choice|better|best|my|me|one|i)\b)")
LEAD_GOES_ON = re.compile(
    r"^[\"')]*\s*(?:$|[.!?,:;(\u2014\u3002\uff0c]|because\b|since\b|as\b|for\b|without\b|definitely\b|any\b|every\b|"
    r"please\b|obviously\b|over\b|rather\b|instead\b|not\b|all\b|of course\b|it is\b|person\b|" + _WINS + ")"
)
# "X, in this context, is ...": a sentence about X and no answer.
# A number or a truth for an option, in JSON or after a colon: the other one may have the higher.
RATED = re.compile(
    r"^[\"')]*\s*[:=]\s*(?:[\d.]|(?:false|true|null|no|yes)\b)"
    r"|^[\"')]*\s*[(\u2014-]?\s*(?:about |roughly |~)?\d+(?:[.,]\d+)?\s*(?:%|percent|/\s*\d|out of|points?|stars?)"
)
HEADING = re.compile(rf"^\W*{M}\W*:$")
IS_ABOUT = re.compile(
    r"^[\"')]*,[^,.;]{1,40},\s*(?:is|are|was|were|has|have)\b|^,? on the other hand\b"
    rf"|^[\"')]*,\s*(?:(?:is|are|was|were)(?:n't)?\b|(?:while|whereas)\s+(?:an?\s+|the\s+)?{M})"
    r"|^[\"')]*\s*:\s*(?:this|it|that)(?: is|'s) (?:an? )?(?:\w+ )?(?:example|case|instance)\b"
    r"|^[\"')]*\s*[\u2014:]\s*an? (?:[\w-]+,? ){0,4}(?:form|kind|type|sort|style|brand|piece|variety|alternative)\b"
)
# "The choice of X over Y is an old question."
CHOICE_AS_TOPIC = re.compile(
    r"\b(?:choice|choosing|picking|taking|selecting|preferring|comparing|debate|question|decision|preference|"
    r"comparison|"
    r"idea|case|argument|dilemma)\b(?:\s+(?:of|for|on|about|to|whether|between|choose|pick|take|have|go|with)\b)*\s+"
    rf"(?:an?\s+|the\s+)?\"?{M}\"?\s+(?:over|rather than|instead of|in place of|in preference to|versus|vs\.?)\b"
    rf"(?![^{SIDES}]*{M}\"?\s+(?:is|was|would be|seems)\s+(?:clearly |definitely |always )?"
    r"(?:an?|the) (?:right|better|best|obvious|clear|sensible|wise|good)\b)"
)
ALSO = re.compile(r"\b(?:also|equally)\b")
ALSO_AFTER = re.compile(rf"^[^{SIDES},.;]{{0,20}}\b(?:as well|too|just as much|also|equally)\b")
# What is only liked is no choice where a "but" is about the other option.
BUT_ALSO = re.compile(
    rf"\b(?:like|love|enjoy)\b[^{SIDES}]{{0,60}}({M})[^{SIDES}]{{0,80}}\b(?:but|yet|though) (?:an?\s+|the\s+)?"
    rf"(?!\1){M} (?:ha(?:s|ve) my|wins?|(?:is|are) (?:even |much |far |simply |just )?(?:better|more|my|the best))\b"
)
PREFERS = re.compile(
    r"^(?:i|we)(?:'d|'ll| would| will)"
    + _STILL
    + r" *$|\b(?:rather|prefer|choose|pick|select|opt|go with|go for|take|vote|lean\w*|favou?r|recommend)\b"
)
TELLS = re.compile(
    r"^\s+to\s+(?:\w+ly\s+)?(?:share|tell|hear|know|say|talk|speak|explain|help|discuss|introduce|mention|ask|learn|"
    r"point|"
    r"clarify|note|offer)\b"
)
ARGUED = re.compile(
    rf"\b(?:i|we)(?:'d| would| must| do)?(?:\s+\w+)?\s+(?:argue|say|think|believe|feel|find)\b(?: that)?"
    rf"[^{SIDES},.]{{0,20}}({M})\s+(?:(?:might|may|could|would|can|will)\s+)?"
    r"(?:is|are|be|offers?|provides?|makes?|gives?|has|have)\s+(?:[\w'-]+\s+){0,3}(?:more|better|the most)\b"
)

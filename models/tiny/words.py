# ruff: noqa: SIM905 -- lists of words read best as words
"""The words that the tiny model's speech is made of, by part of speech.

Hand-written: everyday nouns, verbs, adjectives and little words, and what telephone
systems say. Sentences are drawn from them in `sentences.py`.
"""

from __future__ import annotations

NOUNS = """
account address afternoon age agent air airport animal answer apple area arm army arrow art aunt
baby back bag ball band bank bar basket bath beach bear bed bell bench bicycle bill bird birthday
board boat body bone book boot border bottle bottom bowl box boy branch bread breakfast bridge
brother brush bucket building bus business butter button cable cake call camera camp candle captain
car card carpet cat cellar center chair chance change channel cheese chicken child choice church
circle city class clock cloth cloud coat code coffee coin college color company computer conference
control cook copper corner cost cotton country couple course cousin cover cow cream crowd cup
customer dance danger daughter day deal decision department desk dinner directory doctor dog door
dream dress drink driver duck ear earth edge egg engine evening exercise expert extension eye face
fact factory family farm farmer father feather field finger fire fish flag floor flower food foot
forest fork friend front fruit future game garden gate ghost gift girl glass goat gold grass group
guest guide guitar hair hall hammer hand harbor hat head health heart hill history hole holiday home
horse hospital hotel hour house husband ice idea island jacket job journey judge juice kettle key
king kitchen knee knife ladder lady lake lamp land language leaf leg lemon lesson letter level
library light line lion list lock lunch machine magazine mailbox man manager map market master
matter meal meat meeting member memory message metal middle milk mine minute mirror moment money
monkey month moon morning mother motor mountain mouse mouth museum music nail name nation neck
needle nest net network news night noise north nose note number nurse ocean office oil onion
operator orange order owner page paint pair palace paper parent park part partner party password
path pencil people pepper person phone photo piano picture piece pilot place plan plane plant plate
player pocket poem point police pool post potato pound power present president price prince prison
prize problem project question queue rabbit radio rain reason record report result rice ring river
road rock roof room root rope rule salt sand school science sea seat second secret server service
shape sheep shelf ship shirt shoe shop shoulder side sign silver singer sister size skin sky sleep
smile smoke snake snow soap soldier son song sound soup south space spoon sport spring square
stable stage star start station step stick stone store storm story street student subject sugar
summer sun supper surface system table tail tea teacher team telephone tent test theater thing
ticket tiger time today tomorrow tongue tool tooth top tower town toy trade train tree trip trouble
truck uncle university valley vegetable video village violin visit voice wall war watch water wave
way weather wedding week weight west wheel wife wind window wine winter woman wood wool word work
worker world writer yard year yesterday zebra
""".split()

VERBS = """
accept add agree allow answer arrive ask beat become begin believe bend blow borrow break breathe
bring build burn buy call carry catch change check choose clean climb close collect come continue
cook count cover cross cry cut dance decide deliver describe dial die dig draw dream drink drive
drop eat enjoy enter explain fall feed feel fight fill find finish fly follow forget forgive freeze
get give go grow guess hang happen hate have hear help hide hit hold hope hunt hurry hurt invite
join jump keep kick kill kiss know laugh lead learn leave lend lie like listen live look lose love
make mark measure meet mix move need notice offer open order paint pay pick plant play point pour
press promise pull push put reach read receive record remember repair repeat rest ride rise run
save say see sell send serve share shine shout show shut sing sink sit sleep smell speak spell
spend stand start stay steal stop study swim take talk taste teach tell thank think throw touch
travel try turn understand use visit wait wake walk want wash watch wear win wish wonder work worry
write
""".split()

ADJECTIVES = """
able alone angry available awake bad beautiful better big bitter black blind blue brave bright
broken brown busy calm careful cheap clean clear clever cold common cool correct cruel curious dark
dead deaf dear deep different difficult dirty dry early east easy empty equal every fair false
famous fast fat fine first flat foreign free fresh friendly full funny gentle glad golden good gray
great green half happy hard heavy high hot huge hungry important invalid invisible kind large last
late lazy left light little local lonely long loud low lucky main many married modern narrow near
new next nice noisy normal old only open orange other perfect pink plain pleasant polite poor
pretty private proud public purple quick quiet rare ready real red rich right ripe rough round sad
safe same several sharp short shy sick silent simple single slow small smooth soft some special
square strange strong sudden sure sweet tall temporary thick thin thirsty tired true ugly unknown
useful usual valid warm wet white whole wide wild wise wrong yellow young
""".split()

LITTLE_WORDS = """
a about above across after again against all almost along already also always am among an and
another any anyone anything are around as at away be because been before behind being below beside
best between beyond both but by can could did do does done down during each either else enough
especially even ever everyone everything everywhere except far few for from had has have he hello
help her here him his how however i if in inside into is it its just later least less let like may
maybe me mine more most much must my nearly never no nobody none nor not nothing now of off often on
once or our out outside over past perhaps please quite rather she should since so somebody
something sometimes somewhere soon still such than thank thanks that the their them then there
these they this those though through to together too toward under until up upon us very was we well
were what when where whether which while who whom whose why will with within without would yes yet
you your
""".split()

#: What telephone systems, machines and clocks say.
SYSTEM_WORDS = """
access account active activated administrator advance alarm announcement area attempt authorize
automatic auxiliary balance block blocked callback caller cancel cancelled complete conference
configuration confirm congestion connect connected connection current database default delete
deleted delivery denied destination device dialing digits direction disabled disconnect
disconnected duration echo enabled enabling ended entered entry error exceeded exit expired failed
failure fax feature feedback file followed forward forwarded forwarding goodbye greeting hash
header holding identification incoming incorrect information instructions internet invitation lane
length line located lockout logged login marked maximum menu microphone mode monitor mute muted
notification nothing number option options outgoing paging parking participant participants pause
phonetic pickup placing priority processing prompt quality queue recorded recording redial release
remaining remote removed request requested reset response restart restricted retry route satellite
save saved schedule score section security select selected self sequence session settings signal
silence silent skip speed star status storage storing support switch switchboard target task
technical telephone tone total transfer transferred unavailable unit unmuted update urgent user
version video virus voice volume waiting warning welcome wireless zero zone
""".split()

NAMES = """
adam alice amanda anna anthony arthur barbara ben brian carol charles clara daniel david diana
edward elizabeth emily emma eric frank fred george grace hannah harry helen henry jack james jane
john joseph julia karen kate kevin laura leo linda lisa louis lucy maria mark martha martin mary
michael nancy nick oliver oscar patricia paul peter rachel richard robert rose ruth sam sarah simon
sophia steven susan thomas tom victor walter william
""".split()

CITIES = """
amsterdam athens atlanta austin berlin boston brussels cairo calgary chicago dallas delhi denver
dublin geneva havana helsinki houston istanbul jakarta kyoto lima lisbon london madrid manila
melbourne
miami milan montreal moscow mumbai munich nairobi oslo ottawa paris phoenix prague quito rome
seattle
seoul singapore stockholm sydney tokyo toronto vienna warsaw zurich
""".split()

DAYS = "monday tuesday wednesday thursday friday saturday sunday".split()
MONTHS = (
    "january february march april may june july august september october november december"
).split()

ORDINALS = """
first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth
fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth twentieth thirtieth fortieth
fiftieth sixtieth seventieth eightieth ninetieth hundredth thousandth
""".split()
#: How letters are spelled out on the telephone.
SPELLING = """
alpha bravo charlie delta echo foxtrot golf hotel india juliet kilo lima mike november oscar papa
quebec romeo sierra tango uniform victor whiskey xray yankee zulu
""".split()
LETTERS = list("abcdefghijklmnopqrstuvwxyz")

#: Every word that speech is made of (numbers come on top, as digits).
VOCABULARY: tuple[str, ...] = tuple(
    sorted(
        {
            *NOUNS,
            *VERBS,
            *ADJECTIVES,
            *LITTLE_WORDS,
            *SYSTEM_WORDS,
            *NAMES,
            *CITIES,
            *DAYS,
            *MONTHS,
            *ORDINALS,
            *SPELLING,
        }
    )
)

#: More words, which training alone hears: spelling is learnt from sound, not words by heart.
_MORE = """
ability absence absolute academy accident according achieve across action actor actual addition
adult advantage adventure advice affair affect afraid agency agreement aim alert alien alike alive
allowance alphabet amazing ambition amount ancient angel anger angle ankle announce annual anxious
apart apology appeal appear applause apply appoint approach approve argue arise arrange arrest
article artist aside asleep aspect assist assume atmosphere attach attack attend attitude attract
auction audience author average avoid award aware awful background bacon badge bake balcony balloon
bamboo banana bandage barrel barrier base basic basis battery battle bean beard beauty beef beetle
behave belief belong belt benefit berry beware bishop bite blade blame blanket blend bless blood
blossom boil bold bolt bomb bond bonus booth boss bother bounce bound bracelet brain brake brand
brass brick bride brief bring broad broom bubble budget buffalo bug bullet bunch bundle burden
burst bury bush cabin cabinet cage calendar campaign canal cancer candidate candy cannon canvas
capable capacity capital capture carbon career cargo carrot cart carve cash castle casual category
cattle cause cave ceiling celebrate cell century cereal ceremony certain certainly chain chalk
challenge champion chapter character charge charity chart chase cheap cheek cheer chef chemical
cherry chest chew chief chimney chin chip chocolate cigarette cinema citizen civil claim clay
clerk cliff climate clinic closet clothes clown club clue coach coal coast cockpit collar colony
column comb combine comedy comfort command comment commerce commit committee community compare
compass compete complain concept concern concert conclude concrete condition conduct confess
consider consist constant construct consult consume contact contain content contest context
contract contrast contribute convince cottage council counter county courage court crack craft
crash crawl crazy create creature credit crew crime crisis critic crop crown crucial crush crystal
culture cup cupboard cure curious current curtain curve custom cycle dairy damage damp dare dash
data date dawn deadline debate debt decade december decent declare decline decorate deer defeat
defend define degree delay delicate delight demand democracy depart depend depth derive desert
deserve desire despite destroy detail detect develop devil devote diamond diet differ digital
dignity dinosaur diploma direct dirt disagree disappear disaster discipline discount discover
discuss disease dish dismiss display distance distinct disturb ditch divide divorce dock document
dollar domestic dominant double doubt dozen draft dragon drama drawer drift drill drown drug drum
duke dull dump dust duty eager eagle earn ease economy edit editor educate effect effort elbow
elder elect electric element elephant elevator eleven embassy emerge emergency emotion empire
employ encounter encourage enemy energy engage engineer enormous ensure entertain entire entrance
envelope environment episode escape essay essential establish estate estimate evidence evil exact
exam examine example excellent exchange excite excuse execute exhibit exist expand expect expense
experience experiment explode explore export expose express extend extent extra extreme fabric
facility fade faint faith fame fancy fantasy fashion fate fault favor favorite fear federal fee
female fence festival fever fiber fiction fierce fifty figure film filter final finance firm fist
fix flame flash flavor flesh flight float flood flour flow fluid fold folk fond fool football
force forever formal former fortune fossil foundation fountain fraction frame freedom freight
frequent frog frost frown fuel function fund funeral fur furniture gain galaxy gallery gang gap
garage garbage garlic gather gaze gear gene general generous genius gesture giant giraffe glance
glimpse global globe glory glove glue goal goose govern government grab grade gradual grain grand
grandmother grant grape graph grave gravity green greet grip grocery growth guard guilty gulf gun
gym habit hail handle handsome harm harvest hasty hay headline heal heap heaven heel height helmet
herb hero highway hire hollow honest honey honor hook horizon horn horror host hostile household
hug human humble humor hurricane hydrogen ideal identity ignore illegal illness image imagine
impact imply import impress improve inch incident include income increase indeed index indicate
industry infant inform initial injury inner innocent input insect insist inspect instance instant
instead institute instrument insult insurance intend interest interview introduce invent invest
investigate iron issue item ivory jail jazz jealous jelly jewel joint joke joy jungle junior jury
justice kidney kindness kit kite labor lack lamb landscape lane largely laser laundry law lawn
lawyer layer leader league lean leap leather lecture legal legend leisure lemonade length lens
leopard liberty license lid lift limb limit link lip liquid literature litter liver load loan lobby
lobster logic loose lord loss lottery loud lovely loyal luggage lumber lung luxury magic magnet
maid mail main major majority male mammal manner marble march margin marine marriage mask mass
massive mate mathematics mayor meadow meaning media medical medicine medium melt mental mention
menu merchant mercy merely mess method mild military mill million mind mineral minister minor
miracle misery mission mistake mixture mobile model modest moment monster mood moral mosquito
motion motive mount movement movie muscle mushroom mystery myth naked native natural nature naval
neat necessary negative neglect neighbor neither nephew nerve neutral newspaper nice niece
nitrogen noble nod normal notice notion novel nuclear nut oak obey object oblige observe obtain
obvious occasion occupy occur odd offend offense officer official olive onto opera operate opinion
oppose opposite orchestra ordinary organ organize origin ought ounce outcome oven overall owe owl
oxygen oyster pace pack package pain palm pan panel panic parade paragraph pardon parrot particular
passage passenger passion passport past patch patience patient pattern peace peach peak peanut
pearl pen penalty penguin penny perform perfume period permanent permit personal persuade phase
phrase physical pigeon pile pill pillow pin pine pink pipe pitch pity plain planet plastic platform
plenty plug plum plunge plural poet poison pole polish politics pond pony popular population port
portion portrait position positive possess possible poster pot potential poverty powder practice
praise pray prefer pregnant prepare presence presence preserve press pressure pretend prevent
previous pride priest primary principal principle print privilege probable procedure proceed
produce product profession professor profile profit program progress prohibit proof proper property
proposal propose protect protein protest prove provide province publish pump punch punish pupil
purchase pure purpose pursue puzzle pyramid quality quantity quarter queen quest quote race rack
radar rail range rank rapid rate raw ray react real reality reason recall recent recipe recognize
recommend recover reduce refer reflect reform refuse regard region regret regular regulate reject
relate relation relative relax relevant relief religion rely remain remark remind remove rent
replace reply represent republic reputation require rescue research resemble reserve resident
resist resolve resort resource respect respond responsible retire return reveal revenge reverse
review revolution reward rhythm ribbon rifle riot rival robot rocket role roll romance rooster
rough route row royal rub rubber rude rug ruin rural rush sack sacred saddle sail saint sake salad
salary sale salmon sample sand sandwich satisfy sauce sausage scale scan scandal scarce scare scarf
scatter scene scheme scholar scissors scope scratch scream screen screw script sculpture seal
search season secure seed seek seize seldom selfish senate senior sense sentence separate series
serious settle severe sew shade shadow shake shallow shame shark shed sheet shell shelter shield
shift shock shoot shore shot shower shrimp sight sign signature silk silly silver similar sin
sincere site situation sketch skill skirt slave slice slide slight slip slope smart smooth snail
sneeze soccer social society sock soda sofa software soil solar sole solid solution solve sore
sorry sort soul source southern sparrow speech spell spider spin spirit split spoil sponge spot
spray spread squirrel staff stage stain stair stake stamp standard stare statement station statue
status steady steam steel steep stem stir stomach storage stove straight strain strategy strawberry
stream strength stress stretch strict strike string strip stroke structure struggle stuff stupid
style submit substance succeed success sudden suffer suggest suit sum summit superior supply
support suppose surface surgeon surprise surrender surround survey survive suspect swallow swan
swear sweat sweater sweep swell swing sword symbol sympathy symptom system tackle tail tailor tale
talent tank tap tape tax taxi tear tease temper temperature temple tend tennis tension term
terrible territory text theory therapy thief thigh thorough thread threat throat throne thumb
thunder tide tidy tie tight tile timber tiny tip tissue title toast tobacco toilet tomato ton topic
torch tortoise toss tough tour tourist towel track tradition traffic tragedy trail traitor tram
trap treasure treat treaty tremble trend trial triangle tribe trick tropical trousers trumpet trunk
trust truth tube tune tunnel turkey turtle twice twin twist type typical umbrella unable uniform
union unique unit unite universe unless upper upset urban urge usage vacation vacuum van vanish
variety various vast vehicle verb verse vessel veteran victim victory view village vine violence
virtue visible vision vital vocabulary vote vowel wage wagon waist wander warrior waste wealth
weapon weave weigh welfare whale whatever wheat whenever wherever whisper whistle widow width
willing wing wipe wire wisdom witness wolf wonderful wooden worm worry worth wound wrap wreck wrist
yellow yesterday yield youth zone zoo
""".split()
_VOWELS = "aeiou"


def _plural(noun: str) -> str:
    if noun.endswith(("s", "x", "ch", "sh")):
        return noun + "es"
    if noun.endswith("y") and noun[-2] not in _VOWELS:
        return noun[:-1] + "ies"
    return noun + "s"


def _doing(verb: str) -> str:
    """As in "doing"; of short verbs the last letter is written twice."""
    if verb.endswith("e") and not verb.endswith(("ee", "ie")):
        return verb[:-1] + "ing"
    ending = verb[-3:]
    short = len(verb) <= 4 and verb[-1] not in "aeiouwxy" and verb[-2] in _VOWELS
    return verb + (verb[-1] if short and ending[0] not in _VOWELS else "") + "ing"


def _done(verb: str) -> str:
    """As in "asked": right of regular verbs, and something that can be said of the others."""
    if verb.endswith("y") and verb[-2] not in _VOWELS:
        return verb[:-1] + "ied"
    return verb + "d" if verb.endswith("e") else _doing(verb)[:-3] + "ed"


BEYOND: tuple[str, ...] = tuple(
    sorted(
        {
            *_MORE,
            *map(_plural, NOUNS),
            *map(_plural, VERBS),
            *map(_doing, VERBS),
            *map(_done, VERBS),
            *(word + "ly" for word in ADJECTIVES if not word.endswith(("y", "le", "ly"))),
        }
    )
)

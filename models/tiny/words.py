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

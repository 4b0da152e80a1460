"""Sample pairs of texts, which show a model in int8 the ranges of its states."""

import numpy as np

from rerank.config import ScorerConfig
from rerank.encoding.pairs import EncodedPairs
from rerank.engines.encoders import load_encoder

# Prose, questions, code, numbers, names, other languages, and texts that do not belong together. The scores of a model
# in int8 depend on every letter: whoever changes one must give these precisions new names, which stored scores have.
_SAMPLES = (
    (
        "how do I return a parcel that arrived damaged",
        "Returns are free within 30 days. Print the label, put the item back into its box and hand it in at any post "
        "office; the money is on your account five working days after the parcel has reached our warehouse. For items "
        "that arrived broken please add two photographs, one of the damage and one of the packaging.",
    ),
    (
        "what causes the boundary layer to separate from a wing",
        "Experiments in a low-speed wind tunnel show that the flow along the upper surface slows down behind the point "
        "of minimum pressure. Where the adverse gradient is steep, at angles of attack above 14 degrees, the layer "
        "leaves the surface, the lift coefficient drops from 1.42 to 0.95 and the drag doubles. Suction through a "
        "porous strip at 0.3 of the chord delays this, at Reynolds numbers of 2.1 x 10^6 and below.",
    ),
    (
        "read a csv file without pandas",
        "import csv\n\nwith open(path, newline='') as file:\n    rows = [row for row in csv.DictReader(file, delimiter="
        "';')]\n    assert all(row['price'] >= '0' for row in rows), f'{path}: negative price'",
    ),
    ("capital of australia", "Canberra"),
    (
        "who wrote the first treatise on harmony, and when?",
        "Jean-Philippe Rameau (1683-1764) published his Traite de l'harmonie in Paris in 1722. Earlier theorists, "
        "among them Zarlino in Venice, had described counterpoint and consonance, but not chords and their roots.",
    ),
    (
        "side effects of ibuprofen in patients older than 65",
        "BACKGROUND: Non-steroidal anti-inflammatory drugs are widely prescribed. METHODS: 1,204 patients (mean age "
        "71.3, SD 5.2) were randomised to 400 mg three times a day or placebo for 12 weeks. RESULTS: Dyspepsia (11.2 % "
        "v 6.4 %, p = 0.004) and raised blood pressure were more frequent; renal function did not differ. CONCLUSION: "
        "The lowest effective dose should be used for the shortest time.",
    ),
    (
        "Was kostet der Versand nach Österreich?",
        "Bestellungen ab 50 € liefern wir kostenlos, kleinere für 4,90 €; nach Österreich und in die Schweiz dauert es "
        "drei bis fünf Werktage. Größere Möbel bringt eine Spedition bis hinter die erste Türe.",
    ),
    (
        "où trouver le numéro de suivi de ma commande",
        "The quarterly report was late again: revenue fell by 3 % to $4.7bn, margins were flat, and nobody on the call "
        "asked about the factory in Ohio.",
    ),
    (
        "配送状況はどこで確認できますか",
        "マイページの「注文履歴」を開き、追跡番号を選ぶと、現在の配送状況が表示されます。反映まで数時間かかることがあります。",
    ),
    (
        "ERROR 1045 (28000): Access denied for user 'root'@'localhost'",
        "The server refuses a login for three reasons: the account does not exist for this host, the password is "
        "wrong, or the plugin that checks it is another one. SELECT user, host, plugin FROM mysql.user; lists the "
        "accounts. Then ALTER USER ... IDENTIFIED BY sets a new password; FLUSH PRIVILEGES is not needed after it.",
    ),
    (
        "best hikes near zermatt for children",
        "- Five Lakes Walk: 9.3 km, 2.5 h, +165 m / -454 m, T2\n- Marmot trail: 4 km, easy, playground at Leisee\n"
        "- Gorner gorge: wooden walkways, closed in winter, CHF 5.50\nBring water, hats and patience!!! :-)",
    ),
    (
        "is it legal to record a phone call",
        "Article 5. No person shall, without the consent of all parties thereto, intercept, record or disclose the "
        "contents of any private communication, except (a) under an order of a court, or (b) where the recording is "
        "made by a party to protect a lawful interest of substantial weight, pursuant to section 12(3) of this Act.",
    ),
)


def sample_pairs(config: ScorerConfig) -> EncodedPairs:
    """Return pairs of all kinds of texts as the encoder of this model reads them. Raises ModelError."""
    queries, documents = zip(*_SAMPLES, strict=True)
    rows = np.arange(len(_SAMPLES), dtype=np.int32)
    return load_encoder(config).encode(queries, documents, rows, rows)

"""How well the tiny model answers, asked through the pipeline: the parts of `models.tiny.evaluate`.

`seeing` and `hearing` draw data that training never drew, `kinds` says which job asks
about each and how it is scored (`scoring`), `running` runs the jobs, `same` holds vLLM's
answers against transformers', `report` writes the table.
"""

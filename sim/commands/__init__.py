"""What the verbs of the command do: one module per verb, loaded when the verb is used."""

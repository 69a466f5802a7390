"""Write chats with a language model; another one, the judge, keeps or rejects each."""

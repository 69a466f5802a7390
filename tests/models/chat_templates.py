"""Chat templates in our own words that behave as those of known families do."""

from __future__ import annotations

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# Qwen2.5's, SmolLM2's: a system turn of its own where the chat brings none.
NAMED_SYSTEM = (
    "{% if messages[0].role != 'system' %}{{ '<|im_start|>system\nYou are Qwen, made by Alibaba.<|im_end|>\n' }}"
    "{% endif %}" + CHATML
)
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}"
    "{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' + m.content | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
# The first of Llama 3: the next header is written whether it is asked for or not.
ALWAYS_HEADER = LLAMA3.replace("{% if add_generation_prompt %}", "").removesuffix("{% endif %}")
# DeepSeek-R1's distilled models: the prompt opens reasoning, and answers lose what stands before its end.
R1 = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}{{ m.content }}"
    "{% elif m.role == 'user' %}{{ '<|User|>' + m.content }}"
    "{% else %}{{ '<|Assistant|>' + m.content.split('</think>')[-1] + eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|Assistant|><think>\n' }}{% endif %}"
)
# DeepSeek-V3.1's: reasoning is opened without a line feed, or closed at once.
V31 = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ '<|User|>' + m.content }}"
    "{% else %}{{ '<|Assistant|></think>' + m.content.split('</think>')[-1] + eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|Assistant|>' + ('<think>' if thinking else '</think>') }}{% endif %}"
)
QWQ = (
    "{% for m in messages %}{% set c = m.content %}{% if m.role == 'assistant' and '</think>' in c %}"
    "{% set c = c.split('</think>')[-1].lstrip('\n') %}{% endif %}"
    "{{ '<|im_start|>' + m.role + '\n' + c + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}"
)
# Reasoning of earlier turns is dropped; the last turn has an empty block if it has none; a switch puts that into the
# prompt. Calls of tools and tools are written.
QWEN3 = (
    "{% if tools %}{{ '<|im_start|>system\n' }}{% for t in tools %}{{ t | tojson }}{% endfor %}{{ '<|im_end|>\n' }}"
    "{% endif %}{% set ns = namespace(last=-1) %}"
    "{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}"
    "{% for m in messages %}{% if m.role == 'assistant' %}{% set said = m.content %}{% set thought = '' %}"
    "{% if m.reasoning_content is string %}{% set thought = m.reasoning_content %}"
    "{% elif '</think>' in said %}{% set thought = said.split('</think>')[0].split('<think>')[-1].strip('\n') %}"
    "{% set said = said.split('</think>')[-1].lstrip('\n') %}{% endif %}"
    "{{ '<|im_start|>assistant\n' }}{% if loop.index0 > ns.last and (loop.last or thought) %}"
    "{{ '<think>\n' + thought.strip('\n') + '\n</think>\n\n' }}{% endif %}{{ said }}"
    "{% for call in m.tool_calls or [] %}"
    "{{ '\n<tool_call>\n' + call.function.name + ' ' + call.function.arguments | tojson + '\n</tool_call>' }}"
    "{% endfor %}{{ '<|im_end|>\n' }}"
    "{% elif m.role == 'tool' %}"
    "{{ '<|im_start|>user\n<tool_response>\n' + m.content + '\n</tool_response><|im_end|>\n' }}"
    "{% else %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is defined and enable_thinking is false %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{% endif %}"
)
# Qwen3-Thinking's: the prompt opens reasoning, and the last answer is written with its own.
QWEN3_THINKING = QWEN3.replace(
    "{% if enable_thinking is defined and enable_thinking is false %}{{ '<think>\n\n</think>\n\n' }}{% endif %}",
    "{{ '<think>\n' }}",
)
# gpt-oss's: an earlier answer ends otherwise than the last; reasoning is a message of its own, of the last turn alone.
GPT_OSS = (
    "{% for m in messages %}{% if m.role == 'assistant' %}{% if loop.last and m.thinking %}"
    "{{ '<|start|>assistant<|channel|>analysis<|message|>' + m.thinking + '<|end|>' }}{% endif %}"
    "{{ '<|start|>assistant<|channel|>final<|message|>' + m.content + ('<|return|>' if loop.last else '<|end|>') }}"
    "{% else %}{{ '<|start|>' + m.role + '<|message|>' + m.content + '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start|>assistant' }}{% endif %}"
)
# Phi-3's: a text that does not ask for an answer ends with EOS.
PHI3 = (
    "{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)
_GEMMA_TURNS = (
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
    "{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\n' + m.content | trim }}"
    "{{ '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
GEMMA = "{{ bos_token }}{% for m in messages %}" + _GEMMA_TURNS
# Gemma 2's: no system message.
GEMMA2 = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}" + _GEMMA_TURNS
)
# Gemma 4's larger ones: the prompt closes an empty channel of thought, which no answer is written with.
GEMMA4 = (
    "{{ bos_token }}{% for m in messages %}"
    "{{ '<|turn>' + ('model' if m.role == 'assistant' else m.role) + '\n' + m.content | trim + '<turn|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|turn>model\n' }}"
    "{% if not enable_thinking %}{{ '<|channel>thought\n<channel|>' }}{% endif %}{% endif %}"
)
# Nemotron's: likewise an empty block of reasoning, and answers lose theirs.
NEMOTRON = (
    "{% for m in messages %}{{ '<SPECIAL_11>' + m.role + '\n' + m.content.split('</think>')[-1] | trim + '\n' }}"
    "{% if m.role == 'assistant' %}{{ '<SPECIAL_12>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<SPECIAL_11>assistant\n<think></think>' }}{% endif %}"
)
# Drops a system message without a word.
DROPS_SYSTEM = (
    "{% for m in messages %}{% if m.role != 'system' %}"
    "{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# GLM's: the token of the next role ends a turn.
GLM = (
    "{% for m in messages %}{{ '<|' + ('observation' if m.role == 'tool' else m.role) + '|>\n' + m.content }}"
    "{% for call in m.tool_calls or [] %}{{ '<tool_call>' + call.function.name }}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}"
    "{% elif m.role == 'assistant' %}{{ ' ' + m.content + eos_token }}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported') }}{% endif %}{% endfor %}"
)
# A later Mistral's: the system message stands in the last user turn.
MISTRAL_SYSTEM = (
    "{{ bos_token }}{% set ns = namespace(sys='') %}"
    "{% if messages[0].role == 'system' %}{% set ns.sys = messages[0].content + '\n\n' %}{% set rest = messages[1:] %}"
    "{% else %}{% set rest = messages %}{% endif %}{% for m in rest %}{% if m.role == 'user' %}{{ '[INST] ' }}"
    "{% if loop.last or loop.index0 == rest | length - 2 %}{{ ns.sys }}{% endif %}{{ m.content + ' [/INST]' }}"
    "{% else %}{{ ' ' + m.content | trim + eos_token }}{% endif %}{% endfor %}"
)
NANO = (
    "{% for m in messages %}{% if m.role == 'assistant' %}<|im_start|> {{ m.content }} <|im_end|> "
    "{% else %}<|eot_id|> {{ m.content }} <|im_end|> {% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|> {% endif %}"
)
# What people write for a model that has no template: no token of its own, and a prompt that ends with a space.
PLAIN = (
    "{% for m in messages %}{{ '### ' + m.role | capitalize + ': ' + m.content + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '### Assistant: ' }}{% endif %}"
)
EOS_ONLY = (
    "{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + eos_token + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
COMMAND = (  # an answer is closed, and then its turn
    "{% for m in messages %}{{ '<|turn|><|' + m['role'] + '|>' }}{% if m['tool_calls'] %}"
    "{{ '<|act|>' + m['tool_calls'][0]['function']['name'] + '<|/act|>' }}{% elif m['role'] == 'assistant' %}"
    "{{ '<|answer|>' + m['content'] + '<|/answer|>' }}{% else %}{{ m['content'] }}{% endif %}{{ '<|/turn|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|turn|><|assistant|>' }}{% endif %}"
)
COMMAND_R7B = COMMAND.replace("{% if add_generation_prompt %}", "").removesuffix("{% endif %}")
EOS_AFTER_ANSWERS = (  # two ends in a row, where a user's turn has the first alone
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' }}"
    "{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
EOS_BEHIND_ALL = (  # EOS right behind the last turn of a chat, whosever it is
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% else %}{{ eos_token }}{% endif %}"
)
GPT_OSS_CALLS = (  # what is said beside a call is written until an answer follows
    "{% set done = messages[-1].role == 'assistant' and not messages[-1].tool_calls %}{% for m in messages %}"
    "{% if m.tool_calls %}{% if m.content and not done %}{{ '<|start|>assistant<|channel|>' + m.content + '<|end|>' }}"
    "{% endif %}{{ '<|start|>assistant to=' + m.tool_calls[0].function.name + '<|message|>{}<|call|>' }}"
    "{% else %}{% if m.thinking %}{{ '<|start|>assistant<|channel|>' + m.thinking + '<|end|>' }}{% endif %}"
    "{{ '<|start|>' + m.role + '<|message|>' + m.content }}"
    "{{ '<|return|>' if m.role == 'assistant' else '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start|>assistant' }}{% endif %}"
)

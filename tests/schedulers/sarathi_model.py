"""Sarathi-Serve's batching as a blocking program: a transcription that shares no code with ours.

Iterations take one second; what each of them computes is the outcome.
"""

from dataclasses import dataclass


@dataclass(eq=False)
class Sequence:
    number: int
    arrival: float
    length: int
    """Known tokens."""
    missing: int
    """Output tokens to come."""
    processed: int = 0
    prompt_done: bool = False
    blocks: int = 0


@dataclass
class Engine:
    chunk_size: int
    max_num_seqs: int
    watermark_blocks: int
    free: int
    block_size: int

    def __post_init__(self):
        self.waiting, self.running = [], []

    def blocks(self, tokens):
        return (tokens + self.block_size - 1) // self.block_size

    def resize(self, sequence, blocks):
        self.free -= blocks - sequence.blocks
        sequence.blocks = blocks

    def preempt(self, sequence):
        self.resize(sequence, 0)
        sequence.processed, sequence.prompt_done = 0, False
        self.waiting.insert(0, sequence)

    def can_append(self, sequence, others):
        alone = not others and self.blocks(sequence.length) == sequence.blocks
        return self.free > 0 or alone

    def decode(self, batch):
        """The first pass; prompts that are not done."""
        queue, prompts = sorted(self.running, key=lambda x: x.number), []
        self.running = []
        while queue:
            sequence = queue.pop(0)
            if not sequence.prompt_done:
                prompts.append(sequence)
                continue
            while not self.can_append(sequence, queue + prompts + self.running):
                if not queue:
                    self.preempt(sequence)
                    break
                self.preempt(queue.pop())
            else:
                self.resize(sequence, self.blocks(sequence.length))
                self.running.append(sequence)
                batch.append((sequence, 1))
        return prompts

    def prefill(self, sequence, batch):
        left = self.chunk_size - sum(tokens for _, tokens in batch)
        tokens = min(sequence.length - sequence.processed, left)
        if tokens:
            batch.append((sequence, tokens))
        return tokens

    def join(self, batch):
        while self.waiting:
            sequence = self.waiting[0]
            need = self.blocks(sequence.length)
            if self.free - need < (self.watermark_blocks if self.running else 0):
                return
            if len(self.running) >= self.max_num_seqs or not self.prefill(sequence, batch):
                return
            self.resize(sequence, need)
            self.running.append(self.waiting.pop(0))

    def step(self):
        batch = []
        prompts = self.decode(batch)
        for sequence in prompts:
            self.prefill(sequence, batch)
        self.running += prompts
        self.join(batch)
        for sequence, tokens in batch:
            self.compute(sequence, tokens)
        return {sequence.number: tokens for sequence, tokens in batch}

    def compute(self, sequence, tokens):
        sequence.processed += tokens
        if sequence.processed == sequence.length:
            sequence.prompt_done = True
            sequence.length += 1
            sequence.missing -= 1
        if not sequence.missing:
            self.resize(sequence, 0)
            self.running.remove(sequence)


def serve(engine, sequences):
    """What each iteration computes: tokens by number, with when it starts."""
    sequences, now, log = list(sequences), 0.0, []
    while sequences or engine.waiting or engine.running:
        if not (engine.waiting or engine.running):
            now = max(now, sequences[0].arrival)
        while sequences and sequences[0].arrival <= now:
            engine.waiting.append(sequences.pop(0))
        log.append((now, engine.step()))
        now += 1.0
    return log

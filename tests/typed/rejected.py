"""Mistakes that types must find: each line that ends with ``# error`` is one, and no other.

mypy and pyright, both strict, must refuse exactly those. Never run, and left out of the checks of
everything else.
"""

# What a line does with its result is not the mistake that it shows.
# pyright: reportUnusedExpression=false, reportUnusedVariable=false, reportUnusedCoroutine=false

from __future__ import annotations

import memfold
from memfold_consumers import local


async def opening() -> None:
    memfold.connect()  # error
    memfold.connect(actor=7)  # error
    memfold.connect(actor="bot", timeout_s="30")  # error
    memfold.connect(4222, actor="bot")  # error
    local(actor="bot", prot=4222)  # error
    local(actor="bot", port="4222")  # error
    async with memfold.connect(actor="bot") as memory:
        memory.resource(7)  # error
        memory.recource("user_alice")  # error
    with local(actor="bot") as memory:  # error
        pass


async def ids(memory: memfold.Memory, resource: memfold.Resource, thread: memfold.Thread) -> None:
    memory.resource(None)  # error
    memory.resource(b"user_alice")  # error
    resource.thread(1)  # error
    await thread.update_message(1, content="Hello.")  # error
    await thread.delete_messages(1)  # error
    await thread.delete_messages([1, 2])  # error
    await thread.clone(7)  # error
    await memory.known([1])  # error
    memory.prepare({}, resource="user_alice", thread=None, facet="message")  # error
    await memory.publish(["event"])  # error
    thread.id.decode()  # error


async def forgotten_await(thread: memfold.Thread, memory: memfold.WorkingMemory) -> None:
    thread.append({"role": "user", "content": "Hello."}).sequence  # error
    memory.get().content  # error
    thread.messages(last=2)[0]  # error
    thread.snapshot().messages  # error
    for message in thread.messages():  # error
        pass
    if await memory.merge({}).applied():  # error
        pass
    receipt: memfold.Receipt = memory.merge({"city": "Berlin"})  # error
    await memory.append("text", because=thread.append({"role": "user", "content": "Hi."}))  # error


async def filters(memory: memfold.Memory, resource: memfold.Resource) -> None:
    thread = resource.thread("support_1")
    await resource.threads(metdata={"channel": "web"})  # error
    await resource.threads(metadata=[("channel", "web")])  # error
    await resource.threads(archived="yes")  # error
    await resource.threads(order="created")  # error
    await resource.threads(order="title", descending=True)  # error
    await resource.threads(since=None)  # error
    await resource.thread_page(offset=10)  # error
    await resource.thread_page(after=(3, 0))  # error
    await resource.thread_page(page="2")  # error
    await memory.resources(order="last_message_at")  # error
    await memory.resources(archived=False)  # error
    await memory.threads(limit="5")  # error
    await thread.messages(threads=["support_1"])  # error
    await thread.messages(since="2026-11-21T12:00:00Z")  # error
    await thread.messages(after=3)  # error
    await thread.messages(include=["m1"])  # error
    await thread.message_page(last=5)  # error
    await thread.messages(include=[memfold.Include(thread="support_1")])  # error
    await resource.messages(threads=7)  # error
    await thread.snapshot(last="20")  # error


async def pages(resource: memfold.Resource, thread: memfold.Thread) -> None:
    threads: memfold.Page[memfold.MessageView] = await resource.thread_page()  # error
    for message in (await thread.message_page()).items:
        message.title  # error
    for found in (await resource.thread_page()).items:
        found.role  # error
    await resource.thread_page(after=(await resource.thread_page()).sequence)  # error
    states: list[memfold.ThreadState] = await resource.messages()  # error
    page: memfold.Page[str] | None = None  # error


async def messages(thread: memfold.Thread) -> None:
    memfold.Message(role="human", content="Hello.")  # error
    memfold.Message(role="user")  # error
    memfold.Message(role="user", content=7)  # error
    memfold.Message(role="user", content=["Hello."])  # error
    memfold.Message(role="user", content="Hello.", created_at=1700000000)  # error
    memfold.Message(role="user", content="Hello.", metadata="web")  # error
    memfold.Message(role="user", text="Hello.", content="")  # error
    memfold.Message(role="user", content="Hello.").role = "tool"  # error
    await thread.append("Hello.")  # error
    await thread.append(["Hello."])  # error
    await thread.append({"role": "user", "content": "Hello."}, expect=7)  # error
    await thread.update_message("m1", role="bot")  # error
    await thread.update_message("m1", metadata=["web"])  # error


async def working_memories(memory: memfold.WorkingMemory) -> None:
    await memory.merge("city: Berlin")  # error
    await memory.merge(city="Berlin")  # error
    await memory.merge([("city", "Berlin")])  # error
    await memory.replace(7)  # error
    await memory.append({"city": "Berlin"})  # error
    await memory.edit("a cat")  # error
    await memory.edit("a cat", None)  # error
    await memory.define(template={"type": "object"})  # error
    await memory.define(schema="# Name")  # error
    await memory.define("# Name")  # error
    await memory.define(schema=memfold.Memory)  # error
    await memory.define(schema=memfold.Message(role="user", content=""))  # error
    await memory.replace("# Name", check="yes")  # error
    await memory.replace("# Name", chek=True)  # error
    memory.is_read_only = True  # error
    await memory.merge({}, expected="7")  # error
    await memory.merge({}, reason=7)  # error
    await memory.get(fresh="no")  # error


async def prompts(thread: memfold.Thread, memory: memfold.WorkingMemory) -> None:
    await thread.prompt(20)  # error
    await thread.prompt(provider="gemini")  # error
    await thread.prompt(scope="namespace")  # error
    await thread.prompt(token_budget="8000")  # error
    await thread.prompt(count_tokens=str.upper)  # error
    thread.prompt().messages  # error
    thread.processor(providr="openai")  # error
    thread.processor(provider="gemini")  # error
    thread.processor(tool="yes")  # error
    thread.processor(title=len)  # error
    thread.processor().before({"role": "user", "content": "Hi."}).messages  # error
    await thread.processor().before("Hello.")  # error
    (await thread.processor().after()).sequence  # error
    memory.tool(modes="append", nam="remember")  # error
    memory.tool().definition("openai")["name"]  # error
    await memory.tool().definition("gemini")  # error
    (await memory.tool().handle({})).receipt.sequence  # error
    (await memory.system_message(since=7)).text  # error
    await memory.system_message(since="7")  # error
    memfold.strip_tags(7)  # error
    memfold.strip_memory("Hello.")  # error


async def reasons(memory: memfold.WorkingMemory, thread: memfold.Thread) -> None:
    await memory.merge({}, because=7)  # error
    await memory.merge({}, because=thread)  # error
    await memory.merge({}, because="m1")  # error
    await memory.merge({}, because=[7])  # error
    await memory.merge({}, because=("support_1", 7))  # error
    await thread.update(because=thread.id.encode())  # error


async def attachments(resource: memfold.Resource, thread: memfold.Thread) -> None:
    memfold.Attachment("text")  # error
    memfold.Attachment(b"...", 7)  # error
    await resource.attachment("sha256")  # error
    await resource.attachment(b"...")  # error
    await resource.resolve("m1")  # error
    views: list[memfold.MessageView] = await resource.resolve((await thread.messages())[0])  # error
    await thread.append({"role": "user", "content": "Hello."}, attach_above="16k")  # error


async def metadata(resource: memfold.Resource, thread: memfold.Thread) -> None:
    await resource.update(metadata=None)  # error
    await resource.update()  # error
    await resource.update({"plan": "pro"})  # error
    await thread.create(metadata="web")  # error
    await thread.create(title=None)  # error
    await thread.create(working_memory=["# Notes"])  # error
    await thread.update(metadata={1: "web"})  # error
    await thread.clone(metadata=["web"])  # error
    await thread.clone(cut="m1")  # error
    memfold.Cut(first=5)  # error


async def results_that_may_be_none(
    resource: memfold.Resource, thread: memfold.Thread, memory: memfold.WorkingMemory
) -> None:
    (await memory.get()).content  # error
    (await memory.definition()).kind  # error
    (await memory.read()).state.revision  # error
    (await thread.get()).title  # error
    (await resource.get()).metadata  # error
    (await thread.snapshot()).thread.title  # error
    (await thread.snapshot()).working_memory.content["city"]  # error
    len((await resource.thread_page()).next)  # error
    last: int = (await resource.message_page()).total  # error


async def receipts(receipt: memfold.Receipt, state: memfold.WorkingMemoryState) -> None:
    if await receipt.applied() == "rejected":  # error
        pass
    await receipt.applied("10 s")  # error
    receipt.sequence = 7  # error
    state.content["city"]  # error
    state.content.upper()  # error
    receipt.event_ids.append("e1")  # error


async def errors(memory: memfold.WorkingMemory) -> None:
    try:
        await memory.merge({})
    except memfold.MemfoldError as error:
        error.reason  # error
    except memfold.Conflict:  # error
        pass
    raise memfold.Rejected("no")  # error

"""The sentences of the question about a write to an audience, in English and Chinese.

In braces, a sentence names the values that `description` puts in: numbers and text that is already quoted. No value
follows a quotation directly, because a right-to-left name would pull a number to its side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cams_mcp.facts import Language


@dataclass(frozen=True, kw_only=True, slots=True)
class Words:
    """The sentences and labels of one language. `one_` and `no_` variants are for 1 and 0."""

    # The question, its box and the consequences.
    question: str
    tick: str
    sent_to_meta: str
    too_few: str
    few_discarded: str

    # The target. `named` is a name with its id, for things that CAMS lists; without a name, it is the id alone.
    audience: str
    size: str
    place: str
    ad_account_named: str
    ad_account: str
    instance_named: str
    instance: str

    # Warnings, and the words in `no_name`.
    other_ad_account: str
    no_name: str
    things: Mapping[str, str]
    reasons: Mapping[str, str]
    running: str
    doubtful: str

    # The people of a call.
    counts: str
    no_duplicates: str
    one_duplicate: str
    duplicates: str
    estimate: str
    last_batch: str

    # The people of a file.
    file: str
    rows: str
    valid: str
    one_call: str
    calls: str
    resumes: str

    # Masked samples.
    examples: str
    comma: str
    email: str
    phone: str

    # Amounts.
    over: str
    one_person: str
    people: str

    # Labels of numbers that are drawn.
    tokens: str
    of_call: Mapping[str, str]
    of_file: Mapping[str, str]
    of_rest: Mapping[str, str]


ENGLISH = Words(
    question="Add {people} to the Meta custom audience {audience}?",
    tick="Tick to send these people's contact details to Meta. This cannot be undone.",
    sent_to_meta="Their contact details will be sent to Meta. This cannot be undone.",
    too_few="Meta discards uploads with fewer than {least} matches, so adding this few people will have no effect.",
    few_discarded="If Meta matches fewer than {least} of them, it discards the data.",
    audience="Audience id {id}{size}.",
    size=", currently {tokens} tokens",
    place="Ad account {ad_account}, page {page}, instance {instance}.",
    ad_account_named="{name} (id {id})",
    ad_account="{id}",
    instance_named="{name} (id {id})",
    instance="{id}",
    other_ad_account="CAMS lists this audience under a different ad account: {id}.",
    no_name="CAMS did not return the {thing}'s name: {reason}.",
    things={"audience": "audience", "instance": "instance", "ad_account": "ad account"},
    reasons={
        "denied": "the access key lacks permission",
        "failed": "the look-up failed",
        "timeout": "the look-up timed out",
    },
    running="another process may still be running this upload.",
    doubtful=(
        "{number} of these {people} may already have been sent: the outcome of their batch is unknown. "
        "Meta counts each person once, no matter how often they are sent."
    ),
    counts="{emails} with e-mail, {phones} with phone, {duplicates}.",
    no_duplicates="no duplicates",
    one_duplicate="1 duplicate",
    duplicates="{number} duplicates",
    estimate="The caller's estimate for the whole upload is {people}.",
    last_batch="This is the last batch of the upload.",
    file="File {name}.",
    rows=(
        "The file {name} has {rows} rows. Left out: {invalid} invalid, {duplicates} duplicate, {suppressed} opted out."
    ),
    valid="Valid rows: {emails} with an e-mail, {phones} with a phone.",
    one_call="The upload takes 1 call. This confirmation covers the whole file.",
    calls="The upload takes {number} calls. This confirmation covers the whole file.",
    resumes="This resumes the upload {upload} of the file {name}, which stopped after {sent} of {total} people.",
    examples="For example: {examples}.",
    comma=", ",
    email="e-mail {address}",
    phone="phone {address}",
    over="over {number}",
    one_person="{number} person",
    people="{number} people",
    tokens="Tokens in the audience (reported by CAMS)",
    of_call={"people": "People", "emails": "With e-mail", "phones": "With phone", "duplicates": "Duplicates"},
    of_file={
        "rows": "Rows in the file",
        "people": "People to add",
        "emails": "Rows with e-mail",
        "phones": "Rows with phone",
        "duplicates": "Duplicates, left out",
        "suppressed": "Opted out, left out",
        "invalid": "Invalid rows, left out",
    },
    of_rest={
        "total": "People in the upload",
        "sent": "Already sent",
        "people": "Still to send",
        "doubtful": "May already have been sent",
    },
)

CHINESE = Words(
    question="是否向 Meta 自定义受众{audience}添加 {people}？",
    tick="勾选即同意将这些用户的联系方式发送给 Meta。此操作无法撤销。",
    sent_to_meta="这些用户的联系方式将发送给 Meta。此操作无法撤销。",
    too_few="匹配成功的用户少于 {least} 位时，Meta 会丢弃数据。本次添加的用户不足 {least} 位，因此不会生效。",
    few_discarded="如果匹配成功的用户少于 {least} 位，Meta 会丢弃这些数据。",
    audience="受众 ID：{id}{size}。",
    size="，当前 Token 数：{tokens}",
    place="{ad_account}，Page ID：{page}，{instance}。",
    ad_account_named="广告账户：{name}（ID：{id}）",
    ad_account="广告账户 ID：{id}",
    instance_named="实例：{name}（ID：{id}）",
    instance="实例 ID：{id}",
    other_ad_account="CAMS 显示该受众属于另一个广告账户，其 ID 为 {id}。",
    no_name="未能从 CAMS 获取{thing}名称：{reason}。",
    things={"audience": "受众", "instance": "实例", "ad_account": "广告账户"},
    reasons={"denied": "访问密钥没有相应权限", "failed": "查询失败", "timeout": "查询超时"},
    running="可能有其他进程仍在执行该上传任务。",
    doubtful=(
        "这 {people}中有 {number} 位可能已经发送，其所在批次的结果未知。无论发送多少次，Meta 对每位用户只统计一次。"
    ),
    counts="有邮箱的用户 {emails} 位，有手机号的用户 {phones} 位，{duplicates}。",
    no_duplicates="无重复用户",
    one_duplicate="重复用户 1 位",
    duplicates="重复用户 {number} 位",
    estimate="调用方预估本次上传共 {people}。",
    last_batch="这是本次上传的最后一批。",
    file="文件：{name}。",
    rows="文件{name}共 {rows} 行。已排除：无效行 {invalid} 行，重复用户 {duplicates} 位，已退订用户 {suppressed} 位。",
    valid="有效行中，有邮箱的 {emails} 行，有手机号的 {phones} 行。",
    one_call="上传共需 1 次 API 调用。本次确认对整个文件有效。",
    calls="上传共需 {number} 次 API 调用。本次确认对整个文件有效。",
    resumes="本次操作将续传文件{name}（上传任务 ID：{upload}）。该任务共 {total} 位用户，上次在发送 {sent} 位后停止。",
    examples="示例：{examples}。",
    comma="、",
    email="邮箱{address}",
    phone="手机号{address}",
    over="超过 {number}",
    one_person="{number} 位用户",
    people="{number} 位用户",
    tokens="受众的 Token 数（由 CAMS 统计）",
    of_call={"people": "用户", "emails": "有邮箱", "phones": "有手机号", "duplicates": "重复"},
    of_file={
        "rows": "文件行数",
        "people": "待添加用户",
        "emails": "有邮箱的行",
        "phones": "有手机号的行",
        "duplicates": "重复（已排除）",
        "suppressed": "已退订（已排除）",
        "invalid": "无效行（已排除）",
    },
    of_rest={
        "total": "上传任务的用户总数",
        "sent": "已发送",
        "people": "待发送",
        "doubtful": "可能已发送",
    },
)

WORDS: Mapping[Language, Words] = {"en": ENGLISH, "zh": CHINESE}

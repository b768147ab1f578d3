import { PROBLEMS } from './problems'
import { type Language, sayState } from './text'

/**
 * Sentences that a node writes (events, why a source is where it is, what a target waits for), and the same in Chinese. `{x}` stands for whatever is there;
 * a sentence within a sentence is looked up in its turn. What is not here, as a newer node may write it, stays as it was written.
 */
const SENTENCES: readonly (readonly [string, string])[] = [
  // Why a source came, went, or waits.
  ['added: it had no owner yet', '新增：此前没有归属'],
  ['took over from {node}', '接管自 {node}'],
  ['home: given back by {node}', '回归首位节点：由 {node} 归还'],
  ['shed by {node}, which had too much', '由负载过高的 {node} 让出'],
  ['handed over by {node}, which drains', '由正在排空的 {node} 移交'],
  ['handed over by {node}, which may not collect it any more', '由不再允许采集它的 {node} 移交'],
  ['given back to its home {node}', '归还给首位节点 {node}'],
  ['shed to {node}: this node has too much', '让给 {node}：本节点负载过高'],
  ['handed over to {node}: this node drains', '移交给 {node}：本节点正在排空'],
  ['handed over to {node}: this node may not collect it any more', '移交给 {node}：本节点不再允许采集它'],
  ["resumed: it was this node's before", '恢复：此前就归本节点'],
  ['taken back: nobody took it', '收回：没有节点接收'],
  ['it is not to be collected here any more', '不再由此处采集'],
  ['{active} of {expected} expected nodes are active: the others have {s} s more to come', '预期 {expected} 个节点中有 {active} 个活动：其余节点还有 {s} 秒可加入'],
  ['{node} is away: it has {s} s more to come back', '{node} 暂离：还有 {s} 秒可返回'],
  ['claimed by {nodes}', '同时被 {nodes} 声明归属'],
  ["no live node matches its runner's placement, or the runner is stopped on all that do", '没有存活节点符合其收集器的部署，或收集器在所有符合的节点上均已停止'],
  ['its last owner was {node}', '最后归属于 {node}'],
  ['nobody has taken it yet', '尚无节点接收'],
  ['too large for any node but its owner, which it overloads: split it, or add a larger node', '除归属节点外没有节点能承受，且归属节点已因它过载：请拆分，或添加更大的节点'],
  ['no copy of its checkpoint is found: rewind it to have it read again', '找不到其检查点的副本：回退后将重新读取'],
  // What a target of an operation waits for.
  ['waiting for node', '等待节点'],
  ['waiting for rollout', '等待发布'],
  ['on its way', '传送中'],
  ['held: {node} says: {fault}', '已暂缓：{node} 报告：{fault}'],
  ['adding the new tag', '正在添加新标签'],
  ['changing placements and sources', '正在更改部署和数据源'],
  ['removing the old tag', '正在移除旧标签'],
  // Why a target could not, or what a preview does not know.
  ['it does not run here any more', '已不在此运行'],
  ['it does not run', '未在运行'],
  ['it heard of this too late, and restarted nothing: say it again if it is still wanted', '得知太晚，未重启：若仍需要请再次下达'],
  ['it has no source `{source}`, or none of it was read yet', '没有数据源 `{source}`，或尚未读取'],
  ['it has no queue here any more', '此处已无磁盘队列'],
  ['it began anew in the middle of this: look whether something waits still, and say it again', '其间重新启动：请查看是否仍有等待，并再次下达'],
  ['it was not at work here, or heard of this too late, and threw nothing away: say it again if it is still wanted', '未在此工作或得知太晚，未丢弃：若仍需要请再次下达'],
  ['{n} instances are too many for one preview: look at fewer runners, or fewer nodes', '{n} 个实例过多，无法一次预览：请减少收集器或节点'],
  ['it has {n} more sources than it tells of', '另有 {n} 个数据源未列出'],
  // Members and nodes.
  ['{node} is alive', '{node} 存活'],
  ['{node} is suspect', '{node} 可疑'],
  ['{node} is down', '{node} 宕机'],
  ['{node} is down: its host says that no process listens there', '{node} 宕机：其主机报告该处没有进程监听'],
  ['{node} is left', '{node} 已离开'],
  ['{node} is forgotten', '{node} 已被遗忘'],
  ['this node takes part', '本节点加入工作'],
  ['this node starts', '本节点启动'],
  ['this node starts: of what happened since {time} it has only seen what is left of it', '本节点启动：自 {time} 以来发生的事只看到留存的部分'],
  ['others had declared this node down; it goes on as generation {generation}', '其他节点曾判定本节点宕机；本节点以世代 {generation} 继续'],
  ["this node's clock is {off}: it refuses changes until its clock is set (is NTP running?)", '本节点时钟 {off}：校准之前拒绝更改（NTP 是否在运行？）'],
  ["this node's clock agrees with its peers' again", '本节点时钟已与其他节点一致'],
  ['this node crashed {n} times in a row: it gets no movable sources before it has run for {s} s; why it crashes is in its log', '本节点连续崩溃 {n} 次：运行满 {s} 秒之前不接收可迁移的数据源；原因见其日志'],
  ['this node has run for long enough and gets movable sources again', '本节点已运行足够久，重新接收可迁移的数据源'],
  ['{active} of {expected} expected nodes are active, and the others were waited for: sources are assigned without them', '预期 {expected} 个节点中有 {active} 个活动，等待已结束：不再等其余节点即分配数据源'],
  ['others know this node as generation {generation}, its data directory does not: it is an old image. It counts as a new disk from now on, and this node gives up the sources that it owned', '其他节点知道本节点的世代 {generation}，而数据目录没有：它是旧镜像。从此视为新磁盘，本节点放弃原有的数据源'],
  ['{what} is not readable and left out: {fault}', '{what} 无法读取，已略过：{fault}'],
  ['{what} cannot be told to others: {fault}', '{what} 无法告知其他节点：{fault}'],
  ['{what} was deleted while this node was away, and is dropped here too; what it was is kept in {file}', '{what} 在本节点暂离期间已删除，此处也丢弃；原内容保存在 {file}'],
  ['{what} of {node} is more than 24 h ahead and set aside: check its clock', '{node} 的 {what} 超前 24 小时以上，已搁置：请检查其时钟'],
  ['the store could not be read ({fault}) and is kept as {file}: catalog and checkpoints must come from others', '存储无法读取（{fault}），保存为 {file}：目录和检查点须来自其他节点'],
  ['the disk of the data directory has no room ({fault}): this node promises nothing and reads no further until there is some; what it had to write waits', '数据目录的磁盘已满（{fault}）：有空间之前本节点不作承诺、不再读取；待写的内容等待'],
  ['the disk of the data directory has room again, and what waited is written', '数据目录的磁盘又有空间，等待的内容已写入'],
  ["{n} events up to here are missing: this node's disk did not take them", '此前缺少 {n} 个事件：本节点磁盘未能写入'],
  // Sources and disk queues.
  ['taken at epoch {epoch}: {why}', '于纪元 {epoch} 接管：{why}'],
  ['taken at epoch {epoch} without a majority of its witnesses', '于纪元 {epoch} 接管，未获多数见证节点同意'],
  ['released at epoch {epoch}: {why}', '于纪元 {epoch} 释放：{why}'],
  ['epoch {epoch} was overruled by {by}', '纪元 {epoch} 被 {by} 取代'],
  ['{node} collects {what} of {runner}: {why}', '{node} 采集 {runner} 的 {what}：{why}'],
  ['{n} sources', '{n} 个数据源'],
  ['no copy of its checkpoint is found: it is not read until one is, or an operator rewinds it', '找不到其检查点的副本：找到或由操作者回退之前不读取'],
  ['set back by {n} bytes, to its beginning, as was said at {at}: they are sent again, under the same ids', '按 {at} 的指令回退 {n} 字节到开头：将以相同标识再次发送'],
  ['at {rate} KiB/s it overloads its owner, and is too large for any other node: split it, or add a larger node', '以 {rate} KiB/s 使归属节点过载，任何其他节点也无法承受：请拆分，或添加更大的节点'],
  ['{n} bytes that waited in its disk queue were thrown away, as was said', '按指令丢弃了磁盘队列中等待的 {n} 字节'],
  ['it was deleted: its disk queue is removed, with {n} bytes in it', '收集器已删除：其磁盘队列连同 {n} 字节一并移除'],
  ['it was deleted, and its disk queue cannot be removed: {fault}; the next start tries again', '收集器已删除，但其磁盘队列无法移除：{fault}；下次启动时重试'],
  // Operations and looks.
  ['operation {id} is on the disks of two other nodes, or of all there are: nothing undoes it but another', '操作 {id} 已在另外两个节点（或现有全部节点）落盘：只有新的操作才能撤销它'],
  ['operation {id} is withdrawn: in ten minutes no other node has taken it. It was not carried out, and will not be', '操作 {id} 已撤回：十分钟内没有其他节点接收。未曾执行，也不会执行'],
  ['operation {one} was said at the same time as {other}, which is the last word', '操作 {one} 与 {other} 同时发出，以后者为准'],
  ['{node} cannot carry out {what}: {fault}', '{node} 无法执行 {what}：{fault}'],
  ['{what}: operation {id}', '{what}：操作 {id}'],
  ['{what}: {n} of {all} have carried it out', '{what}：{all} 个目标中 {n} 个已执行'],
  ['{what}: {n} of {all} have carried it out, {failed} could not', '{what}：{all} 个目标中 {n} 个已执行，{failed} 个未能执行'],
  ['{what}: {n} node(s) are told', '{what}：通知 {n} 个节点'],
  ['{what}: {n} of {all} have carried it out; not {faults}', '{what}：{all} 个目标中 {n} 个已执行；未执行：{faults}'],
  ['{what}: {node} has carried it out', '{what}：{node} 已执行'],
  ['key install {key} by {who}', '{who} 添加密钥 {key}'],
  ['key use {key} by {who}', '{who} 启用密钥 {key}'],
  ['key remove {key} by {who}', '{who} 移除密钥 {key}'],
  ['{node} does not answer: {why}', '{node} 没有应答：{why}'],
  ['{what} on no node by {who} through {via}', '{who} 经 {via} 对 0 个节点执行：{what}'],
  ['{what} on {n} nodes by {who} through {via}', '{who} 经 {via} 在 {n} 个节点上执行：{what}'],
  ['{what} on {target} by {who} through {via}', '{who} 经 {via} 在 {target} 上执行：{what}'],
  ['{who} looks at the records of {runner} at `{stage}` on {nodes}', '{who} 在 {nodes} 上查看 {runner} 在 `{stage}` 阶段的记录'],
  ['{who} tried `{what}` of {runner} on {nodes}', '{who} 在 {nodes} 上试运行了 {runner} 的 `{what}`'],
  ['{who} tried `{what}` of {runner} on {nodes}, in vain: {fault}', '{who} 在 {nodes} 上试运行 {runner} 的 `{what}` 未成功：{fault}'],
  ['{who} through {via}', '{who} 经 {via}'],
  // How a revision or a node does.
  ['tried on {nodes}', '正在 {nodes} 上试运行'],
  ['its node died while it tried this revision; if that had another cause, apply the runner again', '试运行此版本时其节点宕机；若另有原因，请重新应用该收集器'],
  ['crashed {n} times in a row: no sources before it has run for {s} s', '连续崩溃 {n} 次：运行满 {s} 秒之前不分配数据源'],
  ["the node at {node} has this node's key and was there first: two copies of one data directory run, and this one ends", '{node} 处的节点使用本节点的密钥且先于本节点运行：同一数据目录有两份在运行，本节点退出'],
  ['the tag is `{name}` already', '标签已是 `{name}`'],
  ["the sources of `{runner}` are no node's own: name them by `sources`, or say `all`", '`{runner}` 的数据源不属于任何节点本身：请用 `sources` 指明，或写 `all`'],
  // Why a question has no answer.
  ['it is not alive, as this node sees it', '在本节点看来它并未存活'],
  ['it is not alive, as the node sees it that was to help', '在协助的节点看来它并未存活'],
  ['it answers too many questions already: ask again later', '它正在应答过多的询问：请稍后再试'],
  ['it does not understand the question: is it of another version?', '它无法理解该询问：版本是否不同？'],
  ['its answer makes no sense: is it of another version?', '其应答无法理解：版本是否不同？'],
  ['{runner} does not run on {node}', '{runner} 未在 {node} 上运行'],
  ['it does not run there now', '目前未在该处运行'],
  ['it does not own it now', '目前不归它所有'],
]

const HOLE = /\{(\w+)\}/g
/** What may stand in a hole: a node's name has no spaces, and what is counted is a number; else `changing placements and sources` would be so many sources. */
const MAY_BE: Record<string, string> = { node: '\\S+', n: '\\d+', s: '\\d+', all: '\\d+', failed: '\\d+', active: '\\d+', expected: '\\d+' }
const SHAPES = [...PROBLEMS, ...SENTENCES].map(([english, chinese]) => {
  const literal = english.replace(/[.*+?^$()[\]\\|]/g, '\\$&')
  return { shape: new RegExp(`^${literal.replace(HOLE, (_, hole: string) => `(?<${hole}>${MAY_BE[hole] ?? '.+?'})`)}$`), chinese }
})
/** An operation's verb before its runners. */
const DONE = /^(apply|delete|start|stop|remove|follow|restart|rewind|clear counters|drop queue|patch sources|set tags|rename tag|drain|undrain|forget|set)( .+)?$/

/** What a node wrote, in the language of whoever reads it. */
export function sayTold(language: Language, told: string): string {
  if (language !== 'zh') return told
  for (const { shape, chinese } of SHAPES) {
    const holes = shape.exec(told)
    if (holes) return chinese.replace(HOLE, (_, hole: string) => sayTold(language, holes.groups?.[hole] ?? ''))
  }
  const done = DONE.exec(told)
  return done ? `${sayState(language, done[1] ?? '')}${done[2] ?? ''}` : told
}

/** Words with the names of nodes where they have the beginnings of ids, as a node writes of one that it knows no name of yet. Ids of operations and epochs
 *  end alike, and stay as they are: people copy them. */
export const named = (told: string, names: ReadonlyMap<string, string>) =>
  told.replace(/(?<![\w-])[0-9a-f]{8}(?![\w-])/g, (short) => {
    for (const [id, name] of names) if (id.startsWith(short)) return name
    return short
  })

/** The words around the first place where a name stands for itself; undefined where there is none. */
export function around(told: string, name: string): [string, string] | undefined {
  const at = new RegExp(`(?<![\\w.-])${name.replaceAll('.', '\\.')}(?![\\w-]|\\.\\w)`).exec(told)?.index
  return at === undefined ? undefined : [told.slice(0, at), told.slice(at + name.length)]
}

import { useQueryClient } from '@tanstack/react-query'
import { useEffect, useSyncExternalStore } from 'react'
import { authorization, type EventRow } from './client'
import { StreamParser } from './stream'

/** Events kept for the pages. */
const KEPT = 500
const BACK_MS = 3_600_000
const RETRY_MS = 2000
/** Silence after which a connection counts as cut: the node says something every 15 s. */
const SILENCE_MS = 40_000
/** Many events at once (a node dies with its sources) are one look. */
const GATHER_MS = 700

export interface Stream {
  /** The latest last. */
  events: EventRow[]
  /** `lost`: since when nothing was heard, in milliseconds of the browser's clock. */
  state: 'connecting' | 'open' | { lostSince: number; refused: number | undefined }
}

let stream: Stream = { events: [], state: 'connecting' }
const listeners = new Set<() => void>()
const set = (next: Partial<Stream>) => {
  stream = { ...stream, ...next }
  for (const listener of listeners) listener()
}
const subscribe = (listener: () => void) => {
  listeners.add(listener)
  return () => listeners.delete(listener)
}

/** The tab's one event stream: what it brought, and whether it stands. */
export const useStream = () => useSyncExternalStore(subscribe, () => stream)

/** Which lists an event makes old. The first word of its kind says what it is about. */
export function stale(kind: string): string[] {
  switch (kind.split('.')[0]) {
    case 'member':
    case 'node':
      return ['nodes', 'cluster', 'tags', 'instances', 'operations']
    case 'source':
    case 'assignment':
      return ['sources', 'cluster', 'nodes', 'moves']
    case 'runner':
    case 'instance':
      return ['runners', 'instances', 'cluster']
    case 'catalog':
    case 'command':
    case 'operation':
      return ['operations', 'runners', 'nodes', 'tags', 'sources']
    default:
      return []
  }
}

/** Keeps the tab's event stream for as long as it is mounted: once, at the root. */
export function useEventStream() {
  const client = useQueryClient()
  useEffect(() => {
    const stop = new AbortController()
    const old = new Set<string>()
    let timer: ReturnType<typeof setTimeout> | undefined
    const look = (keys: string[]) => {
      if (keys.length === 0) return
      for (const key of keys) old.add(key)
      timer ??= setTimeout(() => {
        timer = undefined
        // What is being fetched is let come first, however busy the cluster is; it may be from before the event, so the look comes after it.
        const busy = [...old].filter((key) => client.isFetching({ queryKey: [key] }) > 0)
        for (const key of old) if (!busy.includes(key)) void client.invalidateQueries({ queryKey: [key] })
        old.clear()
        look(busy)
      }, GATHER_MS)
    }
    void follow(stop.signal, (row) => {
      set({ events: [...stream.events, row].slice(-KEPT) })
      look(stale(row.kind))
    }, () => void client.invalidateQueries())
    return () => {
      stop.abort()
      clearTimeout(timer)
    }
  }, [client])
}

async function follow(signal: AbortSignal, tell: (row: EventRow) => void, reset: () => void) {
  let last: string | undefined
  let lostSince: number | undefined
  while (!signal.aborted) {
    const refused = await once(signal, last, (message) => {
      if (message.id) last = message.id
      if (message.event === 'reset') return reset()
      tell(JSON.parse(message.data) as EventRow)
    }, () => {
      if (lostSince !== undefined) reset()
      lostSince = undefined
      set({ state: 'open' })
    })
    if (signal.aborted) return
    lostSince ??= Date.now()
    set({ state: { lostSince, refused } })
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS))
  }
}

/** One connection, until it ends. Gives the HTTP status of a node that refuses. */
async function once(signal: AbortSignal, last: string | undefined, tell: (message: { id: string; event: string; data: string }) => void, opened: () => void) {
  const silence = new AbortController()
  let timer = setTimeout(() => silence.abort(), SILENCE_MS)
  try {
    // At first the last hour; then on from where the stream was cut.
    const since = new Date(Date.now() - BACK_MS).toISOString()
    const answer = await fetch(last === undefined ? `/v1/events?since=${since}` : '/v1/events', {
      headers: { accept: 'text/event-stream', ...(last === undefined ? {} : { 'last-event-id': last }), ...authorization() },
      signal: AbortSignal.any([signal, silence.signal]),
    })
    if (!answer.ok || !answer.body) return answer.status
    opened()
    const parser = new StreamParser()
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader()
    for (;;) {
      const { done, value } = await reader.read()
      if (done) return undefined
      clearTimeout(timer)
      timer = setTimeout(() => silence.abort(), SILENCE_MS)
      parser.push(value).forEach(tell)
    }
  } catch {
    return undefined
  } finally {
    clearTimeout(timer)
  }
}

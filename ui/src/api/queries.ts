import { infiniteQueryOptions, queryOptions } from '@tanstack/react-query'
import table from '../described.zh.json?url'
import { all, api, ask, Failure, PAGE, type Schemas, type SeriesView } from './client'

/** Events say when to look again; this is for what they do not tell (rates, loads) and for events that were lost. */
const EVERY_MS = 5000

const query = (rest: Record<string, string | undefined>, cursor?: string, limit = PAGE) => ({
  params: { query: { ...rest, cursor, limit } },
})

export const self = queryOptions({ queryKey: ['self'], queryFn: () => ask(api.GET('/v1/self')), refetchInterval: EVERY_MS })
export const cluster = queryOptions({ queryKey: ['cluster'], queryFn: () => ask(api.GET('/v1/cluster')), refetchInterval: EVERY_MS })
export const nodes = queryOptions({
  queryKey: ['nodes'],
  queryFn: () => all((cursor) => ask(api.GET('/v1/nodes', query({}, cursor)))),
  refetchInterval: EVERY_MS,
})
export const tags = queryOptions({
  queryKey: ['tags'],
  queryFn: () => all((cursor) => ask(api.GET('/v1/tags', query({}, cursor)))),
  refetchInterval: EVERY_MS,
})
export const runners = (selector?: string) =>
  queryOptions({
    queryKey: ['runners', { selector }],
    queryFn: () => all((cursor) => ask(api.GET('/v1/runners', query({ selector }, cursor)))),
    refetchInterval: EVERY_MS,
  })
export const runner = (name: string) =>
  queryOptions({
    queryKey: ['runners', name],
    queryFn: () => ask(api.GET('/v1/runners/{runner}', { params: { path: { runner: name } } })),
    refetchInterval: EVERY_MS,
  })
/** What the API says of a runner's fields, in Chinese, by the English: a file of its own, as most never need it. */
export const chinese = queryOptions({
  queryKey: ['described.zh'],
  queryFn: async (): Promise<Record<string, string>> => (await fetch(table)).json(),
  staleTime: Number.POSITIVE_INFINITY,
})
/** What runners can be made of on the node that is asked: it does not change while that runs. */
export const components = queryOptions({
  queryKey: ['components'],
  queryFn: () => all((cursor) => ask(api.GET('/v1/components', query({}, cursor)))),
  staleTime: Number.POSITIVE_INFINITY,
})
export const revisions = (name: string) =>
  queryOptions({
    queryKey: ['runners', name, 'revisions'],
    queryFn: async () => (await ask(api.GET('/v1/runners/{runner}/revisions', { params: { path: { runner: name }, query: { limit: 100 } } }))).items,
    refetchInterval: 6 * EVERY_MS,
  })
export const instances = (filter: { selector?: string; runner?: string } = {}) =>
  queryOptions({
    queryKey: ['instances', filter],
    queryFn: () => all((cursor) => ask(api.GET('/v1/instances', query(filter, cursor)))),
    refetchInterval: EVERY_MS,
  })
export const instance = (node: string, runnerName: string) =>
  queryOptions({
    queryKey: ['instances', node, runnerName],
    queryFn: () => ask(api.GET('/v1/instances/{node}/{runner}', { params: { path: { node, runner: runnerName } } })),
    refetchInterval: EVERY_MS,
  })
/** How a runner, or all together, did lately. Null: the asked node has nothing of it yet. `step`: seconds from point to point, 10 for an hour, 60 for a day. */
export const series = (runnerName: string | undefined, step: 10 | 60) =>
  queryOptions({
    queryKey: ['series', runnerName ?? '', step],
    queryFn: async (): Promise<SeriesView | null> => {
      try {
        return await ask(api.GET('/v1/series', { params: { query: { runner: runnerName, step } } }))
      } catch (error) {
        if (error instanceof Failure && error.problem?.status === 404) return null
        throw error
      }
    },
    refetchInterval: step * 1000,
  })
export const sources = (filter: { selector?: string; runner?: string; state?: string }) =>
  infiniteQueryOptions({
    queryKey: ['sources', filter],
    queryFn: ({ pageParam }) => ask(api.GET('/v1/sources', query(filter, pageParam))),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next_cursor ?? undefined,
    // All pages are fetched anew: the more there are, the seldomer.
    refetchInterval: (query) => 2 * EVERY_MS * Math.max(1, query.state.data?.pages.length ?? 1),
  })
export const source = (runnerName: string, id: string) =>
  queryOptions({
    queryKey: ['sources', runnerName, id],
    queryFn: () => ask(api.GET('/v1/sources/{runner}/{source}', { params: { path: { runner: runnerName, source: id } } })),
    refetchInterval: EVERY_MS,
  })
/** What moved within the hour, the oldest first. */
export const moves = queryOptions({
  queryKey: ['moves'],
  queryFn: () => {
    const since = new Date(Date.now() - 3_600_000).toISOString()
    // Asked for without a stream, it is a list.
    return all(async (cursor) => (await ask(api.GET('/v1/events', query({ kind: 'source', since }, cursor)))) as Schemas['Listing_EventRow'])
  },
  refetchInterval: 6 * EVERY_MS,
})
export const findings = queryOptions({
  queryKey: ['sources', 'findings'],
  queryFn: async () => (await ask(api.GET('/v1/assignments/check'))).items,
  refetchInterval: EVERY_MS,
})
/** How evenly the sources lie on the nodes, by what each can bear: what a plan of nothing tells. It costs a node a second where there are many sources. */
export const evenness = queryOptions({
  queryKey: ['evenness'],
  queryFn: async () => (await ask(api.POST('/v1/plan', { body: { changes: [] } }))).unevenness_before ?? null,
  refetchInterval: 6 * EVERY_MS,
})
export const operations = infiniteQueryOptions({
  queryKey: ['operations'],
  queryFn: ({ pageParam }) => ask(api.GET('/v1/operations', query({}, pageParam, 200))),
  initialPageParam: undefined as string | undefined,
  getNextPageParam: (page) => page.next_cursor ?? undefined,
  refetchInterval: EVERY_MS,
})
export const operation = (id: string) =>
  queryOptions({
    queryKey: ['operations', id],
    queryFn: () => ask(api.GET('/v1/operations/{operation}', { params: { path: { operation: id } } })),
    refetchInterval: 2000,
  })

import { infiniteQueryOptions, queryOptions } from '@tanstack/react-query'
import { all, api, ask, PAGE } from './client'

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
export const sources = (filter: { selector?: string; runner?: string; state?: string }) =>
  infiniteQueryOptions({
    queryKey: ['sources', filter],
    queryFn: ({ pageParam }) => ask(api.GET('/v1/sources', query(filter, pageParam))),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next_cursor ?? undefined,
    refetchInterval: 2 * EVERY_MS,
  })
export const source = (runnerName: string, id: string) =>
  queryOptions({
    queryKey: ['sources', runnerName, id],
    queryFn: () => ask(api.GET('/v1/sources/{runner}/{source}', { params: { path: { runner: runnerName, source: id } } })),
    refetchInterval: EVERY_MS,
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

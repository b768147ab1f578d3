import { useCallback } from 'react'

interface Pages {
  hasNextPage: boolean
  isFetching: boolean
  fetchNextPage: () => Promise<unknown>
}

/** Asks for the next page of a list. Any fetch is waited for: one that an event began would end that of the next page, and nobody would ask for it again. */
export function useMore({ hasNextPage, isFetching, fetchNextPage }: Pages) {
  return useCallback(() => {
    if (hasNextPage && !isFetching) void fetchNextPage()
  }, [hasNextPage, isFetching, fetchNextPage])
}

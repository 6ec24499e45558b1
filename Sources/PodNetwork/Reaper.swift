internal import Kernel

/// Links and pins that are to go. The kernel waits some ten milliseconds for its readers whenever it deletes a link, and
/// no longer for many than for one: what is asked for while one batch is under way goes with the next.
struct Reaper {
  struct Job {
    var link: String?
    var pin: String?
    var done: CheckedContinuation<SyscallError?, Never>
  }

  /// Each caller waits for its own, so there are never more than calls to `detach`.
  var waiting: [Job] = []
  var working = false
}

extension PodNetwork {
  /// Returns when the link and the pin are gone; what is gone already is fine.
  func reap(link: String?, pin: String?) async throws(SyscallError) {
    let failure = await withCheckedContinuation { done in
      reaper.waiting.append(Reaper.Job(link: link, pin: pin, done: done))
      // The callers wait for it: it ends when none does.
      if !reaper.working { Task { await reapAll() } }
      reaper.working = true
    }
    if let failure { throw failure }
  }

  private func reapAll() async {
    while !reaper.waiting.isEmpty {
      let jobs = reaper.waiting
      reaper.waiting = []
      let links = jobs.map(\.link)
      let pins = jobs.map(\.pin)
      let routes = open?.reaperRoutes
      let failures = await onFreshThread { () -> [SyscallError?] in
        let failures = routes.map { Self.delete(links, $0) } ?? links.map { _ in nil }
        return zip(failures, pins).map { failure, pin in failure ?? Self.unpin(pin) }
      }
      for (job, failure) in zip(jobs, failures) { job.done.resume(returning: failure) }
    }
    reaper.working = false
  }

  private static func unpin(_ pin: String?) -> SyscallError? {
    guard let pin else { return nil }
    do throws(SyscallError) {
      try NetworkNamespace.unpin(pin)
      return nil
    } catch {
      return error
    }
  }

  /// Why each link is still there; nil where it is not.
  private static func delete(_ links: [String?], _ routes: RouteSocket) -> [SyscallError?] {
    let names = links.compactMap { $0 }
    if names.count > 1 {
      // A number that nobody uses: whatever is in this group goes.
      let group = randomBytes(4).reduce(UInt32(0)) { $0 << 8 | UInt32($1) } | 0x8000_0000
      try? routes.run(
        names.map { .setGroup(name: $0, group: group) } + [.deleteGroup(group)], tolerating: [Errno.noDevice])
    }
    // One by one those that are left: none, unless something went wrong, which then has a name.
    return links.map { link in
      guard let link else { return nil }
      do throws(SyscallError) {
        try routes.run([.deleteLink(name: link)], tolerating: [Errno.noDevice])
        return nil
      } catch {
        return error
      }
    }
  }
}

internal import CLinux
internal import Glibc

/// Runs `body` on a thread made for it, which then dies.
///
/// For what blocks long, and for what changes the thread itself (setns, unshare): neither may happen on Swift's pool.
/// `body` is synchronous by type, so nothing can suspend inside it.
package func onFreshThread<R: Sendable, E: Error>(
  _ body: @escaping @Sendable () throws(E) -> sending R
) async throws(E) -> R {
  let result: Result<R, E> = await withCheckedContinuation { continuation in
    let job = ThreadJob {
      do throws(E) {
        continuation.resume(returning: .success(try body()))
      } catch {
        continuation.resume(returning: .failure(error))
      }
    }
    job.start()
  }
  return try result.get()
}

private final class ThreadJob: Sendable {
  private let run: @Sendable () -> Void

  init(_ run: @escaping @Sendable () -> Void) { self.run = run }

  func start() {
    // Safe: the retained reference is taken back exactly once, by the thread's body or by the failure below.
    let context = unsafe Unmanaged.passRetained(self).toOpaque()
    let code = unsafe clinux_thread_start(
      { raw in
        guard let raw = unsafe raw else { return nil }
        unsafe Unmanaged<ThreadJob>.fromOpaque(raw).takeRetainedValue().run()
        return nil
      }, context)
    // Out of threads: better late on this one than never.
    if code != 0 { unsafe Unmanaged<ThreadJob>.fromOpaque(context).takeRetainedValue().run() }
  }
}

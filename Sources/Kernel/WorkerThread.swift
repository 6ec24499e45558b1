internal import CLinux
internal import Glibc

/// A thread that lives as long as its body runs: for work that blocks and goes on, such as a database's.
package enum WorkerThread {
  /// Starts the thread; its end is not awaited by anybody, so `body` tells whoever needs to know.
  /// - Throws: EAGAIN where the machine has no thread left.
  package static func start(_ name: String, _ body: @escaping @Sendable () -> Void) throws(SyscallError) {
    let box = Body(body)
    // Safe: the retained reference is taken back exactly once, by the thread or by the failure below.
    let context = unsafe Unmanaged.passRetained(box).toOpaque()
    let code = unsafe clinux_thread_start(
      { raw in
        guard let raw = unsafe raw else { return nil }
        unsafe Unmanaged<Body>.fromOpaque(raw).takeRetainedValue().run()
        return nil
      }, context)
    if code != 0 {
      unsafe Unmanaged<Body>.fromOpaque(context).release()
      throw SyscallError(call: "pthread_create", subject: name, errno: code)
    }
  }

  private final class Body: Sendable {
    let run: @Sendable () -> Void
    init(_ run: @escaping @Sendable () -> Void) { self.run = run }
  }
}

/// Lets one thread sleep until others have something for it. Signals do not add up: one wait takes all so far.
@safe package final class Wakeup: @unchecked Sendable {
  // Unchecked: mutex and condition are made to be used from several threads, at addresses that are stable for the
  // object's life; `isSignalled` is read and written under the mutex only.
  private let mutex: UnsafeMutablePointer<pthread_mutex_t>
  private let condition: UnsafeMutablePointer<pthread_cond_t>
  private var isSignalled = false

  package init() {
    unsafe mutex = .allocate(capacity: 1)
    unsafe condition = .allocate(capacity: 1)
    unsafe pthread_mutex_init(mutex, nil)
    var attributes = pthread_condattr_t()
    unsafe pthread_condattr_init(&attributes)
    // Steps of the wall clock must not stretch a wait.
    unsafe pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
    unsafe pthread_cond_init(condition, &attributes)
    unsafe pthread_condattr_destroy(&attributes)
  }

  deinit {
    unsafe pthread_cond_destroy(condition)
    unsafe pthread_mutex_destroy(mutex)
    unsafe condition.deallocate()
    unsafe mutex.deallocate()
  }

  /// Any thread or task may call it; it waits for no longer than the sleeper takes to look.
  package func signal() {
    unsafe pthread_mutex_lock(mutex)
    isSignalled = true
    unsafe pthread_mutex_unlock(mutex)
    // After the mutex is free: who is woken would sleep once more on it.
    unsafe pthread_cond_signal(condition)
  }

  /// Blocks the thread until a signal, or for `nanoseconds` at most; whether there was a signal.
  package func wait(nanoseconds: Int64) -> Bool {
    var end = timespec()
    unsafe clock_gettime(CLOCK_MONOTONIC, &end)
    let nanosecondsThen = Int64(end.tv_nsec) + max(0, nanoseconds)
    end.tv_sec += Int(nanosecondsThen / 1_000_000_000)
    end.tv_nsec = Int(nanosecondsThen % 1_000_000_000)
    unsafe pthread_mutex_lock(mutex)
    defer {
      isSignalled = false
      unsafe pthread_mutex_unlock(mutex)
    }
    while !isSignalled {
      if unsafe pthread_cond_timedwait(condition, mutex, &end) != 0 { break }
    }
    return isSignalled
  }
}

extension Files {
  /// Makes what the directory lists survive a power cut.
  package static func syncDirectory(_ path: String) throws(SyscallError) {
    let directory = try Directory(path: path)
    _ = try directory.fd.withRaw { fd throws(SyscallError) in try syscall("fsync", on: path) { fsync(fd) } }
  }
}

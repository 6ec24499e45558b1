internal import NIOCore
internal import Synchronization

/// Lets tasks run on an event loop. Tasks that become ready together run in one turn of it, and what they write leaves
/// together: a change that a thousand streams watch would else cost a thousand calls of the kernel.
final class LoopExecutor: TaskExecutor {
  /// Tasks that run before what they have written leaves. With more, the first client waits for the last one's bytes.
  private static let gatheredTasksMax = 16

  private let loop: any EventLoop
  private let ready = Mutex<[UnownedJob]>([])
  let gatherer: NIOLoopBoundBox<HeldFlushes>

  init(_ loop: any EventLoop) {
    self.loop = loop
    gatherer = NIOLoopBoundBox.makeBoxSendingValue(HeldFlushes(), eventLoop: loop)
  }

  func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    let isFirst = ready.withLock { ready in
      ready.append(job)
      return ready.count == 1
    }
    if isFirst { loop.execute { self.runReady() } }
  }

  private func runReady() {
    let jobs = ready.withLock { ready in
      let jobs = ready
      ready = []
      return jobs
    }
    let held = gatherer.value
    var rest = jobs[...]
    while !rest.isEmpty {
      let some = rest.prefix(Self.gatheredTasksMax)
      rest = rest.dropFirst(some.count)
      held.isHolding = some.count > 1
      // Safe: the loop outlives the process's work, and runs each job once.
      for job in some { unsafe job.runSynchronously(on: asUnownedTaskExecutor()) }
      held.release()
    }
  }
}

/// Flushes of one loop's connections that wait for the tasks of a turn.
final class HeldFlushes {
  fileprivate(set) var isHolding = false
  private var held: [FlushGate] = []

  func hold(_ gate: FlushGate) { held.append(gate) }

  fileprivate func release() {
    isHolding = false
    let gates = held
    held = []
    for gate in gates { gate.flushNow() }
  }
}

/// Below an HTTP/2 connection's handler: lets what its streams write in one turn of the loop leave in one go.
final class FlushGate: ChannelOutboundHandler {
  typealias OutboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  private let gatherer: NIOLoopBoundBox<HeldFlushes>
  private var isHeld = false
  private var context: ChannelHandlerContext?

  init(_ gatherer: NIOLoopBoundBox<HeldFlushes>) { self.gatherer = gatherer }

  func handlerAdded(context: ChannelHandlerContext) { self.context = context }
  func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

  func flush(context: ChannelHandlerContext) {
    guard gatherer.value.isHolding else { return context.flush() }
    if isHeld { return }
    isHeld = true
    gatherer.value.hold(self)
  }

  func flushNow() {
    guard isHeld else { return }
    isHeld = false
    context?.flush()
  }

  func close(context: ChannelHandlerContext, mode: CloseMode, promise: EventLoopPromise<Void>?) {
    flushNow()
    context.close(mode: mode, promise: promise)
  }
}

internal import NIOCore
internal import Synchronization

/// Lets tasks run on an event loop. Tasks that become ready together run in one turn of it, and what they write leaves
/// together: a change that a thousand streams watch would else cost a thousand calls of the kernel.
final class LoopExecutor: TaskExecutor {
  /// Tasks that run before what they have written leaves. With more, the first client waits for the last one's bytes.
  private static let gatheredTasksMax = 16

  private enum Work {
    case job(UnownedJob)
    case feed(FeedRun)
  }

  private let loop: any EventLoop
  private let ready = Mutex<[Work]>([])
  let gatherer: NIOLoopBoundBox<HeldFlushes>

  init(_ loop: any EventLoop) {
    self.loop = loop
    gatherer = NIOLoopBoundBox.makeBoxSendingValue(HeldFlushes(), eventLoop: loop)
  }

  func enqueue(_ job: consuming ExecutorJob) { add(.job(UnownedJob(job))) }

  /// Gives a feed its turn: from any thread.
  func ring(_ feed: FeedRun) { add(.feed(feed)) }

  private func add(_ work: Work) {
    let isFirst = ready.withLock { ready in
      ready.append(work)
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
      for work in some {
        switch work {
        // Safe: the loop outlives the process's work, and runs each job once.
        case .job(let job): unsafe job.runSynchronously(on: asUnownedTaskExecutor())
        case .feed(let feed): feed.turn()
        }
      }
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

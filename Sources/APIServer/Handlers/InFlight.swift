import Synchronization

/// Bounds how many requests are worked on at a time; more are told to come back.
final class InFlight: Sendable {
  /// What a refused client is asked to wait.
  static let retryAfterSeconds = 1

  private let readsMax: Int
  private let writesMax: Int
  private let watchesMax: Int
  private let counts = Mutex(Counts())

  struct Counts: Sendable {
    var reads = 0
    var writes = 0
    var watches = 0
  }

  enum Lane: Sendable { case read, write, stream, watch }

  /// Gives the place back once.
  struct Pass: Sendable {
    let owner: InFlight
    let lane: Lane
    func leave() { owner.leave(lane) }
  }

  init(readsMax: Int, writesMax: Int, watchesMax: Int) {
    self.readsMax = readsMax
    self.writesMax = writesMax
    self.watchesMax = watchesMax
  }

  var current: Counts { counts.withLock { $0 } }

  /// Nil: too many. A watch's pass for its stream is taken apart, by `enterWatch`.
  func enter(_ info: RequestInfo) -> Pass? {
    let lane: Lane =
      info.isLongRunning
      ? .stream : ["get", "list", "head", "options"].contains(info.verb) ? .read : .write
    let isIn = counts.withLock { counts in
      switch lane {
      case .read where counts.reads < readsMax: counts.reads += 1
      case .write where counts.writes < writesMax: counts.writes += 1
      case .stream: break
      default: return false
      }
      return true
    }
    return isIn ? Pass(owner: self, lane: lane) : nil
  }

  func enterWatch() -> Pass? {
    let isIn = counts.withLock { counts in
      guard counts.watches < watchesMax else { return false }
      counts.watches += 1
      return true
    }
    return isIn ? Pass(owner: self, lane: .watch) : nil
  }

  private func leave(_ lane: Lane) {
    counts.withLock { counts in
      switch lane {
      case .read: counts.reads -= 1
      case .write: counts.writes -= 1
      case .watch: counts.watches -= 1
      case .stream: break
      }
    }
  }
}

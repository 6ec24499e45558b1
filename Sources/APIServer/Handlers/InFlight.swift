import Synchronization

/// Bounds how many requests are worked on at a time, of all and of each user; more are told to come back.
///
/// One user has at most a share of what the server bears, so that whoever floods it leaves room for the others. Whoever may
/// do everything anyway is bounded with all together only: administrators find their way in also then.
final class InFlight: Sendable {
  /// What a refused client is asked to wait.
  static let retryAfterSeconds = 1

  /// How many may be under way in each lane.
  struct Bounds: Sendable {
    var reads: Int
    var writes: Int
    var watches: Int
  }

  private let all: Bounds
  private let ofUser: Bounds
  private let state = Mutex(State())

  struct Counts: Sendable {
    var reads = 0
    var writes = 0
    var watches = 0

    var isNothing: Bool { reads == 0 && writes == 0 && watches == 0 }

    mutating func add(_ number: Int, to lane: Lane) {
      switch lane {
      case .read: reads += number
      case .write: writes += number
      case .watch: watches += number
      case .stream: break
      }
    }

    func hasRoom(_ lane: Lane, _ bounds: Bounds) -> Bool {
      switch lane {
      case .read: reads < bounds.reads
      case .write: writes < bounds.writes
      case .watch: watches < bounds.watches
      case .stream: true
      }
    }
  }

  private struct State {
    var all = Counts()
    /// Of those who have something under way.
    var users: [String: Counts] = [:]
  }

  enum Lane: Sendable { case read, write, stream, watch }

  /// Gives the place back once.
  struct Pass: Sendable {
    fileprivate let owner: InFlight
    fileprivate let lane: Lane
    /// Nil: not bounded by itself.
    fileprivate let user: String?
    func leave() { owner.leave(self) }
  }

  init(all: Bounds, ofUser: Bounds) {
    self.all = all
    self.ofUser = ofUser
  }

  var current: Counts { state.withLock { $0.all } }

  /// Nil: too many. A watch's pass for its stream is taken apart, by `enterWatch`.
  func enter(_ info: RequestInfo, _ user: UserInfo) -> Pass? {
    let lane: Lane =
      info.isLongRunning
      ? .stream : ["get", "list", "head", "options"].contains(info.verb) ? .read : .write
    return enter(lane, user)
  }

  func enterWatch(_ user: UserInfo) -> Pass? { enter(.watch, user) }

  private func enter(_ lane: Lane, _ user: UserInfo) -> Pass? {
    let name = user.groups.contains(UserInfo.mastersGroup) ? nil : user.name
    let isIn = state.withLock { state in
      guard state.all.hasRoom(lane, all) else { return false }
      if let name, lane != .stream {
        var counts = state.users[name] ?? Counts()
        guard counts.hasRoom(lane, ofUser) else { return false }
        counts.add(1, to: lane)
        state.users[name] = counts
      }
      state.all.add(1, to: lane)
      return true
    }
    return isIn ? Pass(owner: self, lane: lane, user: name) : nil
  }

  private func leave(_ pass: Pass) {
    state.withLock { state in
      state.all.add(-1, to: pass.lane)
      guard let name = pass.user, var counts = state.users[name] else { return }
      counts.add(-1, to: pass.lane)
      state.users[name] = counts.isNothing ? nil : counts
    }
  }
}

/// An expression as instructions of an automaton.
struct PatternProgram: Sendable {
  enum Code: UInt8, Sendable { case set, split, place, match }

  struct Instruction: Sendable {
    var code: Code
    /// `set`: which; `split`: where first; `place`: which.
    var first: Int32 = 0
    /// `split`: where otherwise; else: where next.
    var next: Int32 = 0
  }

  /// Instructions of one expression: what a pattern of Kubernetes' may grow to by its counts, and small enough that a
  /// text of a request's size costs seconds at worst.
  static let sizeMax = 20_000

  private(set) var instructions: [Instruction] = []
  private(set) var sets: [PatternSet] = []
  private(set) var start: Int32 = 0
  private var known: [PatternSet: Int32] = [:]

  init(_ node: PatternNode) throws(PatternProblem) {
    instructions.append(Instruction(code: .match))
    start = try add(node, before: 0)
    known = [:]
  }

  private mutating func append(_ instruction: Instruction) throws(PatternProblem) -> Int32 {
    guard instructions.count < Self.sizeMax else { throw PatternProblem("expression too large") }
    instructions.append(instruction)
    return Int32(instructions.count - 1)
  }

  /// Instructions are made from the end to the start, so that each knows the next.
  private mutating func add(_ node: PatternNode, before next: Int32) throws(PatternProblem) -> Int32 {
    switch node {
    case .empty: return next
    case .set(let set):
      let index = known[set] ?? Int32(sets.count)
      if Int(index) == sets.count {
        sets.append(set)
        known[set] = index
      }
      return try append(Instruction(code: .set, first: index, next: next))
    case .place(let place): return try append(Instruction(code: .place, first: place.rawValue, next: next))
    case .sequence(let nodes):
      var entry = next
      for node in nodes.reversed() { entry = try add(node, before: entry) }
      return entry
    case .choice(let nodes):
      var entry: Int32?
      for node in nodes.reversed() {
        let made = try add(node, before: next)
        entry =
          try entry.map { other throws(PatternProblem) in
            try append(Instruction(code: .split, first: made, next: other))
          } ?? made
      }
      return entry ?? next
    case .repeated(let inner, let least, let most, let isLazy):
      var (entry, copies) = (next, least)
      if let most {
        // Each further one within the one before it.
        for _ in 0..<max(0, most - least) { entry = try split(try add(inner, before: entry), next, isLazy) }
      } else {
        // The loop is behind what it repeats, so that what may match nothing is not tried again before going on.
        copies = max(0, least - 1)
        let loop = try append(Instruction(code: .split))
        let body = try add(inner, before: loop)
        instructions[Int(loop)].first = isLazy ? next : body
        instructions[Int(loop)].next = isLazy ? body : next
        entry = least > 0 ? body : inner.isNullable ? try split(body, next, isLazy) : loop
      }
      for _ in 0..<copies { entry = try add(inner, before: entry) }
      return entry
    }
  }

  private mutating func split(_ body: Int32, _ next: Int32, _ isLazy: Bool) throws(PatternProblem) -> Int32 {
    try append(Instruction(code: .split, first: isLazy ? next : body, next: isLazy ? body : next))
  }
}

/// The automaton at work: all threads at once, in the order in which the expression prefers them.
struct PatternSimulation {
  private let program: PatternProgram
  private let wantsPlace: Bool
  var steps = 0
  private(set) var isOverBudget = false
  /// Instructions still to be followed, of one thread.
  private var open: [Int32] = []

  private let limit: Int

  init(_ program: PatternProgram, wantsPlace: Bool, limit: Int = LinearPattern.stepsMax) {
    (self.program, self.wantsPlace, self.limit) = (program, wantsPlace, limit)
  }

  /// Threads, each at an instruction that eats a scalar or matches; one an instruction.
  private struct Threads {
    var entries: [(instruction: Int32, start: Int)] = []
    /// The round in which an instruction was last reached.
    var reached: [Int]
    var round = 0

    init(_ count: Int) { reached = Array(repeating: 0, count: count) }
  }

  /// - Returns: the match; where `wantsPlace` is false, any range where there is one.
  mutating func run(_ text: [Unicode.Scalar], from first: Int) -> Range<Int>? {
    var now = Threads(program.instructions.count)
    var later = Threads(program.instructions.count)
    var best: Range<Int>?
    var place = first
    now.round = 1
    while true {
      // A match is leftmost: once there is one, nothing starts behind it.
      if best == nil { follow(program.start, place, place, text, &now) }
      if now.entries.isEmpty, best != nil || !canStart(later: place) { break }
      later.entries.removeAll(keepingCapacity: true)
      later.round += 1
      let scalar = place < text.count ? text[place] : nil
      for thread in now.entries {
        let instruction = program.instructions[Int(thread.instruction)]
        if instruction.code == .match {
          best = thread.start..<place
          if !wantsPlace { return best }
          // Those behind it are liked less.
          break
        }
        steps += 1
        if let scalar, program.sets[Int(instruction.first)].contains(scalar) {
          follow(instruction.next, thread.start, place + 1, text, &later)
        }
      }
      if steps > limit {
        isOverBudget = true
        return nil
      }
      guard scalar != nil else { break }
      place += 1
      swap(&now, &later)
    }
    return best
  }

  /// Whether anything can match that does not start at the start of the text.
  private func canStart(later place: Int) -> Bool {
    let entry = program.instructions[Int(program.start)]
    return !(entry.code == .place && entry.first == PatternNode.Place.textStart.rawValue)
  }

  /// Adds what can be reached from an instruction without a scalar, the preferred first.
  private mutating func follow(
    _ instruction: Int32, _ start: Int, _ place: Int, _ text: [Unicode.Scalar], _ threads: inout Threads
  ) {
    open.append(instruction)
    while let next = open.popLast() {
      guard threads.reached[Int(next)] != threads.round else { continue }
      threads.reached[Int(next)] = threads.round
      steps += 1
      let instruction = program.instructions[Int(next)]
      switch instruction.code {
      case .set, .match: threads.entries.append((next, start))
      case .split:
        open.append(instruction.next)
        open.append(instruction.first)
      case .place: if Self.holds(instruction.first, place, text) { open.append(instruction.next) }
      }
    }
  }

  private static func holds(_ kind: Int32, _ place: Int, _ text: [Unicode.Scalar]) -> Bool {
    func isWord(_ place: Int) -> Bool {
      guard text.indices.contains(place) else { return false }
      switch text[place] {
      case "0"..."9", "A"..."Z", "a"..."z", "_": return true
      default: return false
      }
    }
    switch PatternNode.Place(rawValue: kind) {
    case .textStart: return place == 0
    case .textEnd: return place == text.count
    case .lineStart: return place == 0 || text[place - 1] == "\n"
    case .lineEnd: return place == text.count || text[place] == "\n"
    case .wordBoundary: return isWord(place - 1) != isWord(place)
    case .noWordBoundary: return isWord(place - 1) == isWord(place)
    case nil: return false
    }
  }
}

/// The macros over lists and maps.
extension CELRun {
  /// Index or key, and value.
  private func pairs(_ value: CELValue) throws(CELProblem) -> [(CELValue, CELValue)] {
    switch value {
    case .list(let items): items.enumerated().map { (.int(Int64($0)), $1) }
    case .map(let map): Array(zip(map.keys, map.values))
    default: throw .evaluation("no such overload")
    }
  }

  private func names(_ loop: CELLoop, _ pair: (CELValue, CELValue), _ isMap: Bool) -> [(String, CELValue)] {
    if loop.names.count == 2 { return [(loop.names[0], pair.0), (loop.names[1], pair.1)] }
    return [(loop.names[0], isMap ? pair.0 : pair.1)]
  }

  mutating func loop(_ loop: CELLoop) throws(CELProblem) -> CELValue {
    let range = try value(of: loop.range)
    let isMap = if case .map = range { true } else { false }
    let pairs = try pairs(range)
    switch loop.kind {
    case .all: return try quantified(loop, pairs, isMap, decides: false)
    case .exists: return try quantified(loop, pairs, isMap, decides: true)
    case .existsOne:
      var count = 0
      for pair in pairs where try holds(loop.body, names(loop, pair, isMap)) { count += 1 }
      return .bool(count == 1)
    case .filter:
      if isMap {
        var kept: [CELValue] = []
        for pair in pairs where try holds(loop.body, names(loop, pair, isMap)) { kept.append(pair.0) }
        return .list(kept)
      }
      var kept: [CELValue] = []
      for pair in pairs where try holds(loop.body, names(loop, pair, isMap)) { kept.append(pair.1) }
      return .list(kept)
    case .map, .transformList: return try mapped(loop, pairs, isMap)
    case .transformMap: return try transformed(loop, pairs, isMap)
    }
  }

  private mutating func holds(_ node: CELNode, _ names: [(String, CELValue)]) throws(CELProblem) -> Bool {
    try spend(1)
    let value = try with(names) { run throws(CELProblem) in try run.value(of: node) }
    guard let isTrue = value.bool else { throw .evaluation("no such overload") }
    return isTrue
  }

  /// An item that decides outweighs those that fail.
  private mutating func quantified(
    _ loop: CELLoop, _ pairs: [(CELValue, CELValue)], _ isMap: Bool, decides: Bool
  ) throws(CELProblem) -> CELValue {
    var failure: CELProblem?
    for pair in pairs {
      do throws(CELProblem) {
        if try holds(loop.body, names(loop, pair, isMap)) == decides { return .bool(decides) }
      } catch {
        if error.reason == .cost { throw error }
        failure = failure ?? error
      }
    }
    if let failure { throw failure }
    return .bool(!decides)
  }

  private mutating func mapped(
    _ loop: CELLoop, _ pairs: [(CELValue, CELValue)], _ isMap: Bool
  ) throws(CELProblem) -> CELValue {
    var made: [CELValue] = []
    for pair in pairs {
      let names = names(loop, pair, isMap)
      if let condition = loop.condition, try !holds(condition, names) { continue }
      try spend(1)
      made.append(try with(names) { run throws(CELProblem) in try run.value(of: loop.body) })
    }
    return .list(made)
  }

  private mutating func transformed(
    _ loop: CELLoop, _ pairs: [(CELValue, CELValue)], _ isMap: Bool
  ) throws(CELProblem) -> CELValue {
    var made = CELMap()
    for pair in pairs {
      let names = names(loop, pair, isMap)
      if let condition = loop.condition, try !holds(condition, names) { continue }
      try spend(1)
      made[pair.0] = try with(names) { run throws(CELProblem) in try run.value(of: loop.body) }
    }
    return .map(made)
  }
}

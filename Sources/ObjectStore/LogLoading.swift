internal import SQLite

/// What is read from the log when a store opens.
struct LoadedLog {
  var objects = SortedObjects()
  var objectBytes = 0
  var revision: Int64 = 0
  var ring: EventRing
}

extension LogDatabase {
  /// Reads every current object, and the recent changes, so that watches go on over a restart. Blocks on the disk.
  /// - Throws: `.corrupt` where the log contradicts itself, `.io`.
  func load(_ configuration: StoreConfiguration) throws(StoreError) -> LoadedLog {
    var loaded = LoadedLog(
      ring: EventRing(
        floor: oldest, changesMax: configuration.recentEventsMax, bytesMax: configuration.recentBytesMax))
    try withConnection { connection throws(StoreError) in
      do {
        var rows: [Int64: StoredObject] = [:]
        let damage =
          try loadObjects(connection, &loaded, &rows) ?? loadRecent(connection, configuration, &loaded, &rows)
        if let damage { throw StoreError.corrupt(path: path, reason: damage) }
      } catch let error as SQLiteError {
        throw StoreError(opening: path, error)
      } catch let error as StoreError {
        throw error
      } catch {
        throw .io("read \(path): \(error)")
      }
    }
    return loaded
  }

  private func opened(_ key: String, _ value: [UInt8]) -> [UInt8]? { sealing.map { $0.open(key, value) } ?? value }

  private static func sealedWords(_ key: String) -> String {
    "\(key) cannot be decrypted; give the keys that it was written with"
  }

  /// - Returns: what is wrong with the log, or nil.
  private func loadObjects(
    _ connection: borrowing SQLiteConnection, _ loaded: inout LoadedLog, _ rows: inout [Int64: StoredObject]
  ) throws(SQLiteError) -> String? {
    let newest = try connection.integer("SELECT max(id) FROM log") ?? 0
    // All rows may be compacted away: then the newest revision is a delete that is forgotten.
    loaded.revision = max(LogPosition(rawValue: newest).revision, oldest)
    let current = try connection.prepare(
      """
      SELECT log.id, log.key, log.created, log.value
      FROM (SELECT key, max(id) AS newest, deleted FROM log GROUP BY key) AS last JOIN log ON log.id = last.newest
      WHERE last.deleted = 0 ORDER BY last.key
      """)
    var objects: [StoredObject] = []
    while try current.step() {
      let position = LogPosition(rawValue: current.integer(0))
      let key = current.text(1)
      guard let value = opened(key, current.bytes(3)) else { return Self.sealedWords(key) }
      let object = StoredObject(
        key: key, value: value, position: position, createRevision: current.integer(2))
      guard position.revision > 0, object.createRevision > 0, object.createRevision <= object.revision else {
        return "row \(position.rawValue) has revision \(position.revision), created at \(object.createRevision)"
      }
      if let last = objects.last, last.key >= object.key { return "keys are out of order at \(object.key)" }
      objects.append(object)
      rows[position.rawValue] = object
      loaded.objectBytes += BatchPlan.bytes(object)
    }
    loaded.objects = SortedObjects(sorted: objects)
    return nil
  }

  private func loadRecent(
    _ connection: borrowing SQLiteConnection, _ configuration: StoreConfiguration, _ loaded: inout LoadedLog,
    _ rows: inout [Int64: StoredObject]
  ) throws(SQLiteError) -> String? {
    let first = LogPosition(revision: oldest + 1, place: 0).rawValue
    let begin =
      try connection.integer(
        """
        SELECT id FROM log WHERE id >= \(first) ORDER BY id DESC LIMIT 1 OFFSET \(configuration.recentEventsMax)
        """) ?? first
    // Whole revisions only: those after the one that `begin` may cut.
    let floor = begin == first ? oldest : LogPosition(rawValue: begin).revision
    var ring = EventRing(
      floor: floor, changesMax: configuration.recentEventsMax, bytesMax: configuration.recentBytesMax)
    let recent = try connection.prepare(
      "SELECT id, key, created, previous, deleted, value FROM log WHERE id >= ? ORDER BY id")
    let one = try connection.prepare("SELECT key, created, value FROM log WHERE id = ?")
    try recent.bind(1, LogPosition(revision: floor + 1, place: 0).rawValue)
    var revision = floor
    while try recent.step() {
      let position = LogPosition(rawValue: recent.integer(0))
      let previousID = recent.integer(3)
      if previousID != 0, rows[previousID] == nil {
        try one.bind(1, previousID)
        guard try one.step() else { return "row \(previousID), which \(position.rawValue) replaces, is missing" }
        let key = one.text(0)
        guard let value = opened(key, one.bytes(2)) else { return Self.sealedWords(key) }
        rows[previousID] = StoredObject(
          key: key, value: value, position: LogPosition(rawValue: previousID),
          createRevision: one.integer(1))
        one.reset()
      }
      let previous = previousID == 0 ? nil : rows[previousID]
      let isDelete = recent.integer(4) != 0
      var found = rows[position.rawValue]
      if found == nil {
        let key = recent.text(1)
        guard let value = isDelete ? previous?.value ?? [] : opened(key, recent.bytes(5)) else {
          return Self.sealedWords(key)
        }
        found = StoredObject(key: key, value: value, position: position, createRevision: recent.integer(2))
      }
      guard let object = found else { continue }
      rows[position.rawValue] = object
      if position.revision != revision { ring.trim() }
      revision = position.revision
      ring.append(Change(object: object, previous: previous, isDelete: isDelete))
    }
    ring.trim()
    loaded.ring = ring
    return nil
  }
}

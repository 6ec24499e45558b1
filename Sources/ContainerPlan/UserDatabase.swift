package import OCISpec

/// Who a container's process is, found in the image's own /etc/passwd and /etc/group.
package struct ResolvedUser: Hashable, Sendable {
  package var user: RuntimeSpec.User
  /// From /etc/passwd; "/" where it is not there.
  package var home: String
  /// nil where a number stands in no line.
  package var name: String?

  /// At most this much of /etc/passwd or /etc/group is looked at; a longer file is refused.
  package static let databaseBytesMax = 1 << 20
  /// The kernel's NGROUPS_MAX.
  package static let groupsMax = 65_536
  private static let textBytesMax = 256

  /// Resolves an image's USER or a request's user name: "", "name", "uid", "name:group", "uid:gid" and so on.
  ///
  /// Digits are always a number, never the name of a line that happens to be called so: who checked that a user is not
  /// root must not be fooled by an image.
  /// - Parameters:
  ///   - passwd: contents of /etc/passwd, nil where the image has none.
  ///   - additionalGroups: those that the request adds to those of /etc/group.
  /// - Throws: `PlanError` for a name that is not there and for numbers that are not plain decimals below 2^31.
  package static func resolve(
    _ text: String, passwd: [UInt8]?, group: [UInt8]?, additionalGroups: [UInt32] = []
  ) throws(PlanError) -> ResolvedUser {
    guard text.utf8.count <= textBytesMax else { throw PlanError("user", "a user of \(text.utf8.count) bytes") }
    let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
    let userText = parts.first ?? ""
    let groupText = parts.count == 2 && !parts[1].isEmpty ? parts[1] : nil
    let users = try lines(passwd, of: "/etc/passwd")
    var found = ResolvedUser(user: RuntimeSpec.User(), home: "/", name: nil)
    if let line = try userLine(userText, in: users, user: &found.user) {
      found.name = line[0]
      found.user.uid = try number(line[2], "the uid of \(line[0]) in /etc/passwd")
      found.user.gid = try number(line[3], "the gid of \(line[0]) in /etc/passwd")
      if line.count > 5, line[5].hasPrefix("/") { found.home = line[5] }
    }
    var groups: [UInt32] = []
    if let groupText {
      found.user.gid = try groupNumber(groupText, group)
    } else if let name = found.name {
      groups = try memberships(of: name, group)
    }
    // The primary group is a supplementary one too, as initgroups(3) has it: a file that denies the group denies this
    // process also after it has changed its primary group.
    var seen: Set<UInt32> = []
    found.user.additionalGroups = ([found.user.gid] + groups + additionalGroups).filter { seen.insert($0).inserted }
    guard found.user.additionalGroups.count <= groupsMax else {
      throw PlanError("user", "more than \(groupsMax) groups")
    }
    return found
  }

  /// The line of a name or number, or nil for a number without one. An empty text is root.
  private static func userLine(
    _ text: String, in users: [[String]], user: inout RuntimeSpec.User
  ) throws(PlanError) -> [String]? {
    if text.isEmpty || isNumeric(text) {
      let uid = text.isEmpty ? 0 : try number(text, "user \(text)")
      user.uid = uid
      return users.first { $0.count >= 4 && $0[2] == String(uid) }
    }
    guard let line = users.first(where: { $0.count >= 4 && $0[0] == text }) else {
      throw PlanError("user", "there is no user \(text) in the image's /etc/passwd")
    }
    return line
  }

  private static func groupNumber(_ text: String, _ group: [UInt8]?) throws(PlanError) -> UInt32 {
    if isNumeric(text) { return try number(text, "group \(text)") }
    guard let line = try lines(group, of: "/etc/group").first(where: { $0.count >= 3 && $0[0] == text }) else {
      throw PlanError("user", "there is no group \(text) in the image's /etc/group")
    }
    return try number(line[2], "the gid of \(text) in /etc/group")
  }

  private static func memberships(of name: String, _ group: [UInt8]?) throws(PlanError) -> [UInt32] {
    var found: [UInt32] = []
    for line in try lines(group, of: "/etc/group") where line.count >= 4 {
      guard line[3].split(separator: ",").contains(where: { $0 == name }) else { continue }
      found.append(try number(line[2], "the gid of \(line[0]) in /etc/group"))
    }
    return found
  }

  private static func isNumeric(_ text: String) -> Bool {
    guard let first = text.utf8.first else { return false }
    // "+0" and "-1" look like numbers to some; they are refused as such, not looked up as names.
    return (0x30...0x39).contains(first) || first == UInt8(ascii: "+") || first == UInt8(ascii: "-")
  }

  private static func number(_ text: String, _ what: String) throws(PlanError) -> UInt32 {
    let isPlain = !text.isEmpty && text.utf8.count <= 10 && text.utf8.allSatisfy { (0x30...0x39).contains($0) }
    guard isPlain, let value = UInt32(text), value < 1 << 31 else {
      throw PlanError("user", "\(what): not a decimal number below 2147483648")
    }
    return value
  }

  private static func lines(_ bytes: [UInt8]?, of file: String) throws(PlanError) -> [[String]] {
    guard let bytes else { return [] }
    guard bytes.count <= databaseBytesMax else {
      throw PlanError("user", "the image's \(file) has more than \(databaseBytesMax) bytes")
    }
    return bytes.split(separator: 0x0A).map { line in
      line.split(separator: 0x3A, omittingEmptySubsequences: false).map { String(decoding: $0, as: UTF8.self) }
    }
  }
}

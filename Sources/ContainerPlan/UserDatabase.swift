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

  /// Resolves an image's USER or a request's user name: "", "name", "uid", "name:group", "uid:gid" and so on.
  /// - Parameters:
  ///   - passwd: contents of /etc/passwd, nil where the image has none.
  ///   - additionalGroups: those that the request adds to those of /etc/group.
  /// - Throws: `PlanError` for a name that is not there and for numbers that are not plain decimals below 2^31.
  package static func resolve(
    _ text: String, passwd: [UInt8]?, group: [UInt8]?, additionalGroups: [UInt32] = []
  ) throws(PlanError) -> ResolvedUser { throw PlanError("user", "unfinished") }
}

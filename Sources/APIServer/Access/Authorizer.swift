/// What a user may do: everything for `system:masters`, what a node needs for `system:nodes`, else nothing.
package struct Authorizer: Sendable {
  private let reader: ObjectReader

  package init(reader: ObjectReader) { self.reader = reader }

  /// - Throws: 403 in Kubernetes' words.
  package func check(_ user: UserInfo, _ attributes: AccessAttributes) throws(AccessRefusal) {
    if user.groups.contains(UserInfo.mastersGroup) || user.nodeName != nil { return }
    throw AccessRefusal(code: 403, reason: "Forbidden", message: "forbidden")
  }
}

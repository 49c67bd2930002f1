"""Tables as Hibernate would have made and filled them for the application that this one replaces."""

from __future__ import annotations

from typing import Final

from tests.own_database import sql

#: The usual ones: bigint ids, datetime(6), varchar(255), enums kept as text, and no rule on duplicates.
USUAL: Final = (
    "CREATE TABLE user (user_id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, name VARCHAR(255) NOT NULL, "
    "created_at DATETIME(6) NOT NULL, updated_at DATETIME(6) NOT NULL)",
    "CREATE TABLE point (point_id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, user_id BIGINT NOT NULL, "
    "balance BIGINT NOT NULL, created_at DATETIME(6) NOT NULL, updated_at DATETIME(6) NOT NULL)",
    "CREATE TABLE coupon (coupon_id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, "
    "description VARCHAR(255) NOT NULL, discount_amount BIGINT NOT NULL, stock BIGINT NOT NULL, "
    "coupon_status VARCHAR(255) NOT NULL, created_at DATETIME(6) NOT NULL, updated_at DATETIME(6) NOT NULL)",
    "CREATE TABLE user_coupon (user_coupon_id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, "
    "coupon_id BIGINT NOT NULL, user_id BIGINT NOT NULL, status VARCHAR(255) NOT NULL, "
    "issued_at DATETIME(6) NOT NULL, used_at DATETIME(6), created_at DATETIME(6) NOT NULL, "
    "updated_at DATETIME(6) NOT NULL)",
)
#: Everything another way: an older MySQL's defaults, narrow ids, nullable columns, native enums, foreign keys
#: of Hibernate's names, a unique constraint the other way round, a column that this system lacks.
ODD: Final = (
    "CREATE TABLE user (user_id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, name VARCHAR(100) NULL, "
    "email VARCHAR(100) NULL, created_at DATETIME NULL, updated_at DATETIME NULL) "
    "ENGINE=InnoDB DEFAULT CHARSET=latin1",
    "CREATE TABLE point (point_id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, user_id INT NOT NULL, "
    "balance DECIMAL(38,2) NULL, created_at TIMESTAMP NULL, updated_at TIMESTAMP NULL, "
    "UNIQUE KEY UK_p (user_id), "
    "CONSTRAINT FKpoint FOREIGN KEY (user_id) REFERENCES user (user_id))",
    "CREATE TABLE coupon (coupon_id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, "
    "description TEXT NULL, "
    "discount_amount DOUBLE NOT NULL, stock INT NOT NULL, coupon_status ENUM('OPENED','CLOSED') NULL, "
    "created_at DATETIME(3) NULL, updated_at DATETIME(3) NULL) DEFAULT CHARSET=utf8mb3",
    "CREATE TABLE user_coupon (user_coupon_id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, "
    "coupon_id BIGINT UNSIGNED NOT NULL, user_id INT NOT NULL, status ENUM('ISSUED','USED') NULL, "
    "issued_at DATETIME NULL, used_at DATETIME NULL, created_at DATETIME NULL, updated_at DATETIME NULL, "
    "UNIQUE KEY UK_uc (user_id, coupon_id), KEY IDX_c (coupon_id), "
    "CONSTRAINT FKuser FOREIGN KEY (user_id) REFERENCES user (user_id), "
    "CONSTRAINT FKcoupon FOREIGN KEY (coupon_id) REFERENCES coupon (coupon_id) ON DELETE CASCADE)",
)
#: Tables without transactions, as one finds them on servers that were set up long ago.
OLD: Final = tuple(f"{each} ENGINE=MyISAM DEFAULT CHARSET=latin1" for each in USUAL)

_FILLED: Final = (
    "INSERT INTO user (user_id, name, created_at, updated_at) "
    "SELECT seq, CONCAT('user', seq), NOW(), NOW() FROM numbers WHERE seq <= {users}",
    "INSERT INTO point (user_id, balance, created_at, updated_at) "
    "SELECT user_id, 100000, NOW(), NOW() FROM user",
    "INSERT INTO coupon "
    "(coupon_id, description, discount_amount, stock, coupon_status, created_at, updated_at) "
    "SELECT seq, CONCAT('event', seq), 5000, 100, 'OPENED', NOW(), NOW() FROM numbers WHERE seq <= {coupons}",
    "INSERT INTO user_coupon (coupon_id, user_id, status, issued_at, used_at, created_at, updated_at) "
    "SELECT 1 + (user_id % {coupons}), user_id, IF(user_id % 7, 'ISSUED', 'USED'), NOW(), "
    "IF(user_id % 7, NULL, NOW()), NOW(), NOW() FROM user WHERE user_id <= {winners} ORDER BY user_id",
)


def make(tables: tuple[str, ...], *, users: int = 20, coupons: int = 2, winners: int = 10) -> None:
    """User n has coupon 1 + n % coupons, up to ``winners``; user_coupon ids count up with the users'."""
    for statement in tables:
        sql(statement)
    sql("CREATE TABLE numbers (seq BIGINT PRIMARY KEY)")
    sql("INSERT INTO numbers VALUES (1)")
    reached = 1
    while reached < max(users, coupons):
        sql(f"INSERT INTO numbers SELECT seq + {reached} FROM numbers")
        reached *= 2
    for statement in _FILLED:
        sql(statement.format(users=users, coupons=coupons, winners=winners))
    sql("DROP TABLE numbers")

# SPDX-License-Identifier: MIT
class Post < ActiveRecord::Base
end
